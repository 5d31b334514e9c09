"""The engines that are compared, one module each, each in the fastest way that its own documentation shows.

A module has one function a workload, ``w1(source, out)`` and so on, which prepares and returns a call without
arguments: that call is the work that is timed, it gives a ``Written``. ``start()`` and ``stop()``, where a module has
them, are not timed. Each engine does the same work on a few rows before it is measured, so that nobody pays for
imports, thread pools or starting workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One engine.

    ``module`` is its module here, ``packages`` the distributions whose versions matter, ``how`` says for each
    workload what it runs, ``codec`` what its output is compressed with. ``most_rows``: a larger input would take too
    long, it gets one of that size and its time is scaled.
    """

    name: str
    module: str
    packages: tuple[str, ...]
    how: Mapping[str, str]
    codec: str = "zstd 1"
    most_rows: Mapping[str, int] = field(default_factory=dict)

    def does(self, workload: str) -> bool:
        """Whether it takes part."""
        return self.way(workload) is not None

    def way(self, workload: str) -> str | None:
        """What it runs for the workload; a variant of ``ALONE`` only where it says so by the variant's name."""
        family = workload.split("-", maxsplit=1)[0]
        return self.how.get(workload) if workload in ALONE else self.how.get(family)


ALONE = frozenset({"w3-plain", "w3-full", "w3-soiled"})
"""Variants of a workload with other work than the workload itself."""

PEERS = (
    Peer(
        name="lakeray",
        module="lakeray_run",
        packages=("lakeray", "ray", "deltalake", "pyarrow", "datafusion"),
        how={
            "w1": "`lake.run(file).result()`: ledger, statistics, exactly-once commit",
            "w2": "`lake.run(file).result()`; malformed lines go to quarantine",
            "w3": "`schema_hints`, five expectations with `on_violation: quarantine`",
            "w3-plain": "nothing but `schema_hints`",
            "w3-full": "W3 with `cleanse` over all text columns and `mask: {email: {hmac_sha256: ...}}`",
            "w3-soiled": "the same over soiled values",
        },
    ),
    Peer(
        name="lakeray, snappy",
        module="lakeray_snappy",
        packages=("lakeray", "ray", "deltalake", "pyarrow", "datafusion"),
        how={"w1": "the same with `compression: snappy` on the table, beside engines that write snappy"},
        codec="snappy",
    ),
    Peer(
        name="lakeray, uncompressed",
        module="lakeray_uncompressed",
        packages=("lakeray", "ray", "deltalake", "pyarrow", "datafusion"),
        how={"w1": "the same with `compression: none` on the table, beside engines that do not compress"},
        codec="none",
    ),
    Peer(
        name="delta-rs",
        module="delta_rs",
        packages=("deltalake", "pyarrow"),
        how={"w1": "`write_deltalake(path, pyarrow.dataset.dataset(folder))`"},
    ),
    Peer(
        name="pyarrow",
        module="delta_rs",
        packages=("pyarrow", "deltalake"),
        how={"w2": "`pyarrow.json.read_json` a file, a thread a core, into one `write_deltalake`"},
    ),
    Peer(
        name="DuckDB",
        module="duckdb_sql",
        packages=("duckdb", "deltalake"),
        how={
            "w1": "`COPY (FROM read_parquet) TO folder`, `convert_to_deltalake` (text columns get no statistics)",
            "w2": "`read_json` as Arrow into `write_deltalake` (`ignore_errors` with malformed lines)",
            "w3": "`read_csv(all_varchar)`, `TRY_CAST`, a `CASE` over the rules, two tables through `write_deltalake`",
        },
    ),
    Peer(
        name="Polars",
        module="polars_frames",
        packages=("polars", "deltalake"),
        how={
            "w1": "`scan_parquet(folder).sink_delta(path)`",
            "w2": "`scan_ndjson(folder).sink_delta(path)`",
            "w3": "`scan_csv` as text, `cast(strict=False)`, streaming `collect`, two `write_delta`",
        },
    ),
    Peer(
        name="Daft",
        module="daft_frames",
        packages=("daft", "deltalake"),
        how={
            "w1": "`daft.read_parquet(folder).write_deltalake(path)`, native runner",
            "w2": "`daft.read_json(folder).write_deltalake(path)`, native runner",
            "w3": "`daft.read_csv` as text, `try_cast`, `collect`, two `write_deltalake`, native runner",
        },
        codec="none (no option for it)",
    ),
    Peer(
        name="Daft on Ray",
        module="daft_on_ray",
        packages=("daft", "ray", "deltalake"),
        how={
            "w1": "as Daft, `daft.set_runner_ray()`",
            "w2": "as Daft, `daft.set_runner_ray()`",
            "w3": "as Daft, `daft.set_runner_ray()`",
        },
        codec="none (no option for it)",
    ),
    Peer(
        name="Ray Data",
        module="ray_data",
        packages=("ray", "deltalake", "pyarrow"),
        how={
            "w1": "`ray.data.read_parquet(folder).write_delta(path)`",
            "w2": "`ray.data.read_json(folder).write_delta(path)`",
        },
        codec="snappy (no option for it)",
    ),
    Peer(
        name="dlt",
        module="dlt_pipeline",
        packages=("dlt", "deltalake", "pyarrow"),
        how={
            "w1": "`filesystem` destination, `table_format='delta'`, a resource that yields Arrow batches",
            "w2": "`filesystem` destination, `table_format='delta'`, a resource that yields the parsed lines",
        },
        codec="delta-rs's default (snappy)",
        most_rows={"w1": 10_000_000, "w2": 100_000},
    ),
)
