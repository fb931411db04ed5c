"""A trial: the service as it is on a new database of its own, sending to a sink on loopback."""
