"""Other projects' libraries for comparison, each in an environment of its own, made when a benchmark first needs it."""
