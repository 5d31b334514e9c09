"""What a user writes: the workflow file as frozen values."""
