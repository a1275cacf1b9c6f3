"""Trades and candles of the listed markets: written once, by lease, and read by everyone."""
