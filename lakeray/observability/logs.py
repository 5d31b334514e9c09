"""Structured logs on standard error, as text for people or as JSON lines for machines."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import orjson
import structlog
from structlog.typing import Processor

from lakeray.observability.figures import per_second
from lakeray.observability.runs import RUNS
from lakeray.observability.tally import Committed, Ended, Tally, TallyObserver
from lakeray.observability.visible import visible, without_credentials

Format = Literal["text", "json"]

# Names of fields whose values are never written, whoever logs them.
_SECRET_NAME = re.compile(
    r"secret|password|passwd|token|credential|api_?key|account_key|access_key|(^|_)dsn$", re.IGNORECASE
)
_CHATTY = ("ray", "botocore", "aiobotocore", "s3fs", "adlfs", "azure", "urllib3", "fsspec", "asyncio")


def configure(*, format: Format = "text", level: str = "info", stream: TextIO | None = None) -> None:  # noqa: A002
    """Send structlog's and the standard library's records to ``stream`` (standard error) from ``level`` on.

    Every record carries what is bound with ``structlog.contextvars`` (workflow, run, step, attempt). Libraries below
    lakeray speak only from warnings on. Values of fields that are named like secrets, or credentials inside urls, are
    not written.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream) if stream else _ToStderr()
    final = _final(format, stream or sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=final))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger(RUNS).setLevel(logging.NOTSET if format == "json" else logging.CRITICAL)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


class _ToStderr(logging.StreamHandler[TextIO]):
    """Asks for standard error at every record: a progress display that redirects it keeps its lines whole."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None: ...


def _final(format: Format, stream: TextIO) -> list[Processor]:  # noqa: A002
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if format == "json":
        return [strip, structlog.processors.format_exc_info, _message_first, _json]
    colors = bool(getattr(stream, "isatty", bool)())
    return [strip, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)]


def redact(_: object, __: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor that hides values of secret-sounding fields besides user and password inside urls."""
    for key, value in record.items():
        if _SECRET_NAME.search(key):
            record[key] = "(hidden)"
        elif isinstance(value, str):
            record[key] = without_credentials(value)
    return record


def _message_first(_: object, __: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    order = ("timestamp", "level", "event", "workflow", "run", "step", "attempt", "batch", "progress", "trace_id")
    return {key: record[key] for key in order if key in record} | {k: v for k, v in record.items() if k not in order}


def _json(_: object, __: str, record: MutableMapping[str, Any]) -> str:
    try:
        return orjson.dumps(record, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # a lone surrogate or an integer beyond 64 bits
        shown = {visible(key): value if isinstance(value, bool) else visible(value) for key, value in record.items()}
        return orjson.dumps(shown).decode()


class LogObserver(TallyObserver):
    """Writes what an import does as log records; set ``workflow`` once its name is known."""

    def __init__(self, *, workflow: str | None = None) -> None:
        super().__init__()
        self.workflow = workflow

    def _log(self, step: str, **values: object) -> structlog.stdlib.BoundLogger:
        bound = {"workflow": self.workflow} if self.workflow else {}
        logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("lakeray").bind(**bound, step=step, **values)
        return logger

    def _on_start(self, tally: Tally) -> None:
        self._log(tally.step).info("import started", source_uri=tally.source_uri, table_uri=tally.table_uri)

    def batch_started(self, *, step: str, batch: int, objects: int, size_bytes: int) -> None:
        """Count the batch, then log it."""
        super().batch_started(step=step, batch=batch, objects=objects, size_bytes=size_bytes)
        self._log(step, batch=batch).info("batch started", objects=objects, size_bytes=size_bytes)

    def _on_batch(self, tally: Tally, done: Committed) -> None:
        log = self._log(tally.step, batch=done.batch)
        log.info("batch completed", rows_written=done.rows_written, table_version=done.table_version, won=done.won)

    def _on_end(self, tally: Tally, end: Ended) -> None:
        self._log(tally.step, batch=tally.batch).info(
            "import completed",
            source=end.source,
            records=end.rows_written,
            duration_s=round(end.duration_s, 3),
            errors=end.errors,
            throughput=round(per_second(end.rows_written, end.duration_s), 1),
            objects=tally.objects,
            size_bytes=tally.size_bytes,
        )

    def _on_note(self, step: str, message: str) -> None:
        self._log(step).info("note", message=message)
