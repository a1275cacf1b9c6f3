"""Thin loops around the domain: the transaction engines, what they tell the books, and the check before signing."""
