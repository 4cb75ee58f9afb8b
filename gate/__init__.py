"""The service that asks for work before it answers, with its ledgers, its client and its page."""
