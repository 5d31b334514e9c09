"""Objects found, planned and carried into a table exactly once."""
