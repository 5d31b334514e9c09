"""The keys of a table's secret columns: made, shown, changed."""
