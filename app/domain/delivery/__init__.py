"""When and how fast to deliver, as pure functions."""
