"""The command line: `lakeray --help` says what it can do."""

from lakeray.cli.entry import main

__all__ = ["main"]
