"""Suppressed recipients, one by one and as CSV."""
