"""Which lists of a row become rows of other tables, and how do these become visible together."""
