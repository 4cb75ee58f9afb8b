"""The service that asks for work before it answers: its ledgers, its client and its page."""
