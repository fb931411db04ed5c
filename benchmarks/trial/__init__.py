"""Run the service on a temporary database, sending to a sink on loopback."""
