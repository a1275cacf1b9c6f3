"""Fault injection: a scriptable JSON-RPC proxy between what is tested and Anvil, and the catalogue's cases."""
