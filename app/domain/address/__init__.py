"""Addresses: parse, compare, find, and encode return paths."""
