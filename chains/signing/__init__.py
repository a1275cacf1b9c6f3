"""Signing: the `Signer` protocol, a local signer over unlocked keys, keystores and mnemonics."""
