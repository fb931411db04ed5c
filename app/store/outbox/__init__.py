"""The outbox: accept, claim and settle messages."""
