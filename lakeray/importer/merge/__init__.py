"""Changes of rows brought into a table: which change of a row counts, which files hold it, what becomes of them."""
