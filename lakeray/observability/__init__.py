"""Logs, metrics, progress: how anyone learns what lakeray does."""
