"""Tenants and their usage."""
