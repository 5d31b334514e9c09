"""Durable runs: short steps beside those of peers, runs that wait, runs that are over.

Everything is on the same disk, with its syncs, and how durable an engine is stands beside its figure.
"""
