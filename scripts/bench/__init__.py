"""Benchmarks and proofs that are too long for every test run: `python -m scripts.bench NAME`."""
