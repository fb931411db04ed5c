"""The SMTP client. Knows nothing about the database."""
