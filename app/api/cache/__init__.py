"""What requests keep for a moment: keys, tenants, reads under way, failed authentication."""
