"""One of many that a duty looks at keeps none of the others from their turn."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from lakeray.errors import LakerayError

_log = logging.getLogger(__name__)


@contextmanager
def apart(what: str) -> Iterator[None]:
    """Log what stays wrong with ``what``, such as a document of a later format, and go on behind it. Raises what
    passes: the store is away, say, for everybody.
    """
    try:
        yield
    except LakerayError as error:
        if error.retryable:
            raise
        _log.warning("%s is left out: %s", what, error.message)
