"""The demo: local chains, the service, and a bot that trades through its public API."""
