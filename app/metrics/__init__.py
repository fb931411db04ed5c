"""Count what a process does, and render it for Prometheus."""
