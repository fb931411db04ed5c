"""Read messages, and apply callers' decisions."""
