"""The rows of a batch in files of other formats."""
