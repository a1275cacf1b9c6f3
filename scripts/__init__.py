"""Local chains, demo, lint rules and benchmarks. Only tests import from here."""
