"""The operator's own additions to the lists of assets: checked, written to a file, in use from the next start."""
