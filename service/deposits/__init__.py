"""Where a wallet receives."""
