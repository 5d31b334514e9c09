"""Delta tables: staged files, exactly-once commits and upkeep."""
