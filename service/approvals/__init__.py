"""A second person for withdrawals above what an account lets one do alone."""
