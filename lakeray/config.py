"""Settings of this process, as the environment gives them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lakeray.errors import ConfigError
from lakeray.spec.units import parse_duration, parse_size
from lakeray.spec.wrong import nearest, quoted

LogFormat = Literal["text", "json"]
ExecutorKind = Literal["auto", "tasks", "dataset", "inline"]

ARCHIVE = ".lakeray/archive"
"""Where runs go that leave the state, unless ``LAKERAY_ARCHIVE`` says so."""
_MIN_TASK_MEMORY = 32 * 2**20
_DEFAULTS = {
    "LAKERAY_STATE": "sqlite:///.lakeray/state.db",
    "LAKERAY_CATALOG": ".lakeray/catalog",
    "LAKERAY_TASK_MEMORY": "512MiB",
    "LAKERAY_CPUS": "",
    "LAKERAY_RAY_ADDRESS": "",
    "LAKERAY_EXECUTOR": "auto",
    "LAKERAY_POLL_INTERVAL": "1s",
    "LAKERAY_LOG_FORMAT": "text",
    "LAKERAY_METRICS_FILE": "",
    "LAKERAY_RETENTION": "",
    "LAKERAY_ARCHIVE": ARCHIVE,
    "LAKERAY_POLICY": "",
    "LAKERAY_PRIVATE_HOSTS": "",
}
VARIABLES = (*_DEFAULTS, "LAKERAY_DEBUG", "LAKERAY_FAILPOINTS")
"""Every variable of the environment that lakeray looks at, beside those of Ray and of the clouds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What the environment says about this process; nothing in it changes what an import writes.

    ``state`` may carry a password and is left out of the representation.
    """

    state: str = field(default=_DEFAULTS["LAKERAY_STATE"], repr=False)
    """``LAKERAY_STATE``: ``sqlite:///path`` (three slashes for a relative path, four for an absolute one),
    ``redis://...`` or ``rediss://...``. Default: a file in the working directory's ``.lakeray/``."""
    catalog: str = _DEFAULTS["LAKERAY_CATALOG"]
    """``LAKERAY_CATALOG``: uri or local path of the catalog. Default: ``.lakeray/catalog``. To share it, put it into
    the lake."""
    task_memory_bytes: int = 512 * 2**20
    """``LAKERAY_TASK_MEMORY``: bytes that one task aims to stay below. Default: 512MiB, at least 32MiB. More makes
    larger row groups, less lets more tasks run side by side."""
    cpus: int | None = None
    """``LAKERAY_CPUS``: CPUs that a local Ray may use. Default: all of the machine."""
    ray_address: str | None = None
    """``LAKERAY_RAY_ADDRESS``: the cluster to join, such as ``auto`` or ``ray://host:10001``. Default: a local Ray of
    its own."""
    executor: ExecutorKind = "auto"
    """``LAKERAY_EXECUTOR``: how the tasks of a batch run. ``auto`` (default): bare Ray tasks for small batches, Ray
    Data for large ones. ``tasks``, ``dataset``: always the one, the other. ``inline``: in this process, without Ray."""
    poll_interval_s: float = 1.0
    """``LAKERAY_POLL_INTERVAL``: seconds between two looks at a source that is watched. Default: 1s."""
    log_format: LogFormat = "text"
    """``LAKERAY_LOG_FORMAT``: ``text`` (default) for people, ``json`` for collectors."""
    metrics_file: str | None = None
    """``LAKERAY_METRICS_FILE``: a local file that always holds the current metrics in Prometheus' text format, for node
    exporter's textfile collector. Default: none."""
    private_hosts: tuple[str, ...] = ()
    """``LAKERAY_PRIVATE_HOSTS``: hosts, divided by commas, that webhooks may reach although their addresses are
    loopback, private or link-local. Default: none."""

    retention_s: float | None = None
    """``LAKERAY_RETENTION``: seconds after its end for which a run stays in the state, such as ``30d``; `lakeray up`
    and `lakeray runs archive` keep to it. Default: for ever."""
    archive: str = ARCHIVE
    """``LAKERAY_ARCHIVE``: uri or local path where runs go that leave the state, as Parquet files. Default:
    ``.lakeray/archive``."""
    policy: str | None = None
    """``LAKERAY_POLICY``: a YAML file that says which role may do what, for the conditions ``access_control`` of gates.
    Default: none, and nobody may do anything."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """The settings that ``environ`` gives; empty variables are unset. Raises ConfigError naming the variable."""
        values = {name: environ.get(name, "").strip() or default for name, default in _DEFAULTS.items()}
        return cls(
            state=_state(values["LAKERAY_STATE"]),
            catalog=_place("LAKERAY_CATALOG", values["LAKERAY_CATALOG"]),
            task_memory_bytes=_task_memory(values["LAKERAY_TASK_MEMORY"]),
            cpus=_cpus(values["LAKERAY_CPUS"]),
            ray_address=_ray_address(values["LAKERAY_RAY_ADDRESS"]),
            poll_interval_s=_poll_interval(values["LAKERAY_POLL_INTERVAL"]),
            executor=_one_of("LAKERAY_EXECUTOR", values, get_args(ExecutorKind)),
            log_format=_one_of("LAKERAY_LOG_FORMAT", values, get_args(LogFormat)),
            metrics_file=values["LAKERAY_METRICS_FILE"] or None,
            retention_s=_retention(values["LAKERAY_RETENTION"]),
            archive=_place("LAKERAY_ARCHIVE", values["LAKERAY_ARCHIVE"]),
            policy=values["LAKERAY_POLICY"] or None,
            private_hosts=tuple(filter(None, (host.strip() for host in values["LAKERAY_PRIVATE_HOSTS"].split(",")))),
        )


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str | None]:
    """Variables that begin with ``LAKERAY_`` but mean nothing, each with the nearest one that does."""
    strange = sorted(name for name in environ if name.startswith("LAKERAY_") and name not in VARIABLES)
    return {name: nearest(name, VARIABLES) for name in strange}


def _wrong(variable: str, found: str, hint: str) -> ConfigError:
    return ConfigError(f"{variable} is {found}", hint=hint)


def _state(value: str) -> str:
    if re.fullmatch(r"sqlite:///.+", value) or re.fullmatch(r"rediss?://[^\s/].*", value):
        return value
    scheme = value.partition(":")[0]
    hint = "set it to sqlite:///path, redis://host:port/db or rediss://host:port/db"
    raise _wrong("LAKERAY_STATE", f"no such address (it begins with {quoted(scheme[:20])})", hint)


def _place(variable: str, value: str) -> str:
    from lakeray.spec.texts import SCHEMES

    scheme, separator, rest = value.partition("://")
    if separator and (scheme not in SCHEMES or not rest):
        hint = f"set it to a local path or a uri that begins with one of: {', '.join(f'{s}://' for s in SCHEMES)}"
        raise _wrong(variable, quoted(value), hint)
    return value


def _task_memory(value: str) -> int:
    hint = "set it to a size of at least 32MiB, such as 512MiB or 2GiB"
    try:
        size = parse_size(value)
    except ValueError:
        raise _wrong("LAKERAY_TASK_MEMORY", quoted(value), hint) from None
    if size < _MIN_TASK_MEMORY:
        raise _wrong("LAKERAY_TASK_MEMORY", quoted(value), hint)
    return size


def _cpus(value: str) -> int | None:
    if not value:
        return None
    if not re.fullmatch(r"[0-9]{1,6}", value) or int(value) < 1:
        raise _wrong("LAKERAY_CPUS", quoted(value), "set it to a whole number from 1, or leave it out for all CPUs")
    return int(value)


def _ray_address(value: str) -> str | None:
    if value in {"", "local"}:
        return None
    if value == "auto" or re.fullmatch(r"(ray://)?[^\s/:]+:[0-9]{1,5}", value):
        return value
    hint = "set it to auto, host:port or ray://host:port, or leave it out for a local Ray"
    raise _wrong("LAKERAY_RAY_ADDRESS", quoted(value), hint)


def _poll_interval(value: str) -> float:
    hint = "set it to a duration from 10ms, such as 500ms, 1s or 5m"
    try:
        seconds = parse_duration(value)
    except ValueError:
        raise _wrong("LAKERAY_POLL_INTERVAL", quoted(value), hint) from None
    if seconds < 0.01:  # noqa: PLR2004 - said in the hint
        raise _wrong("LAKERAY_POLL_INTERVAL", quoted(value), hint)
    return seconds


def _retention(value: str) -> float | None:
    try:
        return parse_duration(value) if value else None
    except ValueError:
        hint = "set it to a duration such as 30d, or leave it out to keep runs for ever"
        raise _wrong("LAKERAY_RETENTION", quoted(value), hint) from None


def _one_of(variable: str, values: Mapping[str, str], allowed: tuple[str, ...]) -> Any:
    value = values[variable]
    if value in allowed:
        return value
    near = nearest(value, allowed)
    hint = f"set it to one of: {', '.join(allowed)}" + (f'. Did you mean "{near}"?' if near else "")
    raise _wrong(variable, quoted(value), hint)
