"""The pure half of orchestration: what a run's events mean and which come next, without clock, I/O or randomness."""
