"""Tenants, their quotas and their usage."""
