"""Durable data-lake orchestration on Ray: Delta tables kept exactly in step with object storage.

``lakeray.connect()`` gives a lake; everything else hangs on it. Importing this package loads neither Ray nor Delta.
"""

from __future__ import annotations

from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lakeray.errors import LakerayError
    from lakeray.lake import Lake, Run, connect

__all__ = ["Lake", "LakerayError", "Run", "connect"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version("lakeray")
    if name == "LakerayError":
        from lakeray.errors import LakerayError

        return LakerayError
    if name in __all__:
        from lakeray import lake

        return getattr(lake, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
