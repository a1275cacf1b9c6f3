"""Logs: what is said, in which form, and what never is."""
