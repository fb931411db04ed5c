"""Deliver messages: from due rows to settled rows."""
