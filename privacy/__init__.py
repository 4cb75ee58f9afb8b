"""What an answer reveals, as a number."""
