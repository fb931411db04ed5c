"""Suppressed addresses and patterns, one by one and as CSV."""
