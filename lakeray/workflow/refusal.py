"""The error that says why a run cannot do what was asked of it."""

from __future__ import annotations

from lakeray.errors import LakerayError


class Refused(LakerayError):
    """A command does not fit the state of its run: nothing was recorded; the message is for the person who asked."""

    code = "refused"
