"""The Resend-compatible API: a translation onto Heloise's own operations."""
