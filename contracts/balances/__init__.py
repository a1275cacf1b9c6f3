"""Balances of many (token, wallet) pairs at one block: readers, and the ladder that chooses between them."""
