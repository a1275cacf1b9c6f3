"""The keeper: looks after orders that rest, a block at a time, and executes those that the pools can fill whole."""
