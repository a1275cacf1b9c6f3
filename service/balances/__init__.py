"""What a wallet has, read from the chain, and how much of it is free."""
