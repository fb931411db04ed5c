"""The queue: what waits, and why."""
