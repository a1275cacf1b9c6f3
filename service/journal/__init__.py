"""The books: entries, reservations, opening balances, the outbox, and how they are held against the chain."""
