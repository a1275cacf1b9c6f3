"""Our own test tokens: Vyper sources with the bytecode compiled from them committed beside each."""
