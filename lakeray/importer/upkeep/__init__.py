"""What is done to a table beside imports, over many workers where it is large, without harm to what imports need."""
