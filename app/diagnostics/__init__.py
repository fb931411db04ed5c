"""Tells beforehand what a server will say: verify, the EHLO doctor, the machine's health."""
