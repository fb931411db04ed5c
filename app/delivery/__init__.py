"""Due row to settled row."""
