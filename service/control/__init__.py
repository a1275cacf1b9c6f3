"""The operator's door: acts of the installation's owner, over a Unix socket or directly on the database."""
