"""Benchmarks that anyone can run: `make bench`, or `python -m benchmarks --help` inside an environment with the peers."""
