"""Typed calls and exact maths for protocols. Returns frozen values; never sends, never signs."""
