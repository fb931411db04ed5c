"""Pure values and functions; `now` and randomness are arguments."""
