"""The control API on Ray Serve lives here; this version has none yet, and `lakeray serve` says so."""
