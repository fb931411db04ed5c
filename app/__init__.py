"""Heloise: send email over HTTP, with a durable queue and an SMTP identity per profile."""

__version__ = "0.1.0"
