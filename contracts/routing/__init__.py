"""The best way to trade over many pools: a graph of plain pool states, candidate paths, splits. Pure functions."""
