"""What a wallet signs besides orders and withdrawals: wraps, unwraps, revoked allowances, calls of contracts."""
