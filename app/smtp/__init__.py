"""The wire: knows no table."""
