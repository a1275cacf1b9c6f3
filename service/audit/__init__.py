"""The audit log: who did or was refused what, in chains of entries that cannot be changed without its showing."""
