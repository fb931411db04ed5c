"""Profiles, their rows, deletion and access tokens."""
