"""What the lake holds, by name."""

from lakeray.catalog.sources import SourceEntry, load_source, register_source, versions

__all__ = ["SourceEntry", "load_source", "register_source", "versions"]
