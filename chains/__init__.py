"""EVM chains: endpoints, blocks, fees, signing and transactions. Knows nothing of tokens or users."""
