"""Values made clean by declared rules, each change of which is counted."""
