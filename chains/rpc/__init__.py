"""Endpoints: the JSON-RPC transport, the codec of its values, and web3's provider over it."""
