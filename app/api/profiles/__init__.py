"""SMTP profiles: manage and verify them."""
