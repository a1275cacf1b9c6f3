"""People, their accounts, and the wallets that accounts own."""
