"""Which object version a row came from, and rows taken out by it."""
