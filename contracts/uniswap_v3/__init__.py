"""Uniswap V3 pools as plain state: exact maths, quotes, state transitions and what to read for a pool. No I/O."""
