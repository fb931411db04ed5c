"""The schema's revision, and migrations to it."""
