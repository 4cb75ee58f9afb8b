"""What an answer reveals."""
