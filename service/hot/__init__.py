"""Reads that are asked for all the time, answered ahead of the framework; see `table`."""
