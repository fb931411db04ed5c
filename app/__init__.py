"""Heloise: an email-sending service that says who it is."""

__version__ = "0.1.0"
