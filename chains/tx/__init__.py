"""The transaction engine: intents, nonce slots, signed attempts, lanes and the confirmer."""
