"""What a table's columns and files look like, found out in one pass over its rows by many workers."""
