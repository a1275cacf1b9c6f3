"""API keys as their owners make, change, rotate and end them in a session, and as a key sees itself."""
