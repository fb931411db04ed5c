"""Measure how the database is: its settings, what holds it up, and how much room it has."""
