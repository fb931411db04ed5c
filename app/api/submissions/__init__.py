"""Sessions of SMTP submission."""
