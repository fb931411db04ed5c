"""What happened, told to those who asked to be: webhooks."""
