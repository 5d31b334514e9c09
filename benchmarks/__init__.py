"""Benchmarks that anyone can run: `make bench`, or `python -m benchmarks --help` where the peers are installed."""
