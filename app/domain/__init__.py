"""Pure values and functions. Time and randomness are arguments."""
