"""Liquidity pools held in memory, equal to the chain at each block (README.md)."""
