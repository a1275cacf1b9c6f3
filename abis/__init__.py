"""JSON ABI arrays, one file a contract; SOURCES.md tells where each comes from."""
