"""Read messages, and apply what callers decide of them."""
