"""Quotas, retention and routing of a tenant."""
