"""What the rows of a batch decide together, before anyone can see them."""
