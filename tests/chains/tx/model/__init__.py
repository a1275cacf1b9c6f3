"""The engine's state machine: a chain in memory, a life that may end anywhere, rules, and what must hold."""
