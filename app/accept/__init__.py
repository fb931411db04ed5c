"""HTTP body to durable row."""
