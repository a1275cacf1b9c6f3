"""Withdrawals: transfers out of a wallet to a destination that the key's allowlist names."""
