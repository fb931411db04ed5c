"""The schema's version, and how the database gets there."""
