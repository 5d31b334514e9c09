"""The schema of a source and of its table, and how they move over time."""
