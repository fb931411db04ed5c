"""Who sends a request, what its key allows, and what the audit log notes; knows no protocol."""
