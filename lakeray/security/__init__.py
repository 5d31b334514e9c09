"""Secrets by reference, whoever may see them."""
