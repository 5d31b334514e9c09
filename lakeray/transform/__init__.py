"""What happens to rows between a reader and a table."""
