"""Uniswap V2 pairs and their forks as plain state: exact quotes, state transitions, what to read. No I/O."""
