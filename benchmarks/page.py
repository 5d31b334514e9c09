"""What the page of the benchmarks says around its numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Family:
    """One workload as the page explains it."""

    workload: str
    title: str
    short: str
    text: str


HEAD = """\
# Benchmarks

`make bench` builds an environment with the peers in `.bench-venv`, makes the inputs, measures, and writes this page;
`bash benchmarks/run.sh --quick` does all of it in small within minutes, to see that it works. Every table has the
command that measures it again. This page is made from `results.json` by `python -m benchmarks.render`; nothing on it
is typed by hand.
"""

METHOD = """\
## How it is measured

- Inputs follow from row numbers alone, so the answer (rows, sum of ids, sum of an integer column, first and last
  time, refused rows by rule) is known beforehand. Each run's tables are read back through their Delta log and
  compared with it **before** its time counts. A wrong answer is shown as wrong, whatever its speed.
- Engines take turns (A B C A B C), each measurement in a process of its own that has done the same work on 2,000 rows
  before, so that nobody pays for imports, thread pools or starting workers. lakeray, Daft on Ray and Ray Data find
  their Ray warm.
- Inputs are in the page cache; before each measurement what is still to be written is synced, after it the output is
  deleted.
- Everybody may use all cores, and is used in the fastest way that its documentation shows: see the last column. Where
  an engine lets one choose, its output is zstd at level 1; the column `codec` says who does not.
- What only lakeray does is in its time: the manifest, the result, the ledger's rows, full file statistics.
- Daft does not accept the newest pyarrow, and all engines share one environment, so everyone runs with the pyarrow
  that Daft accepts.
- `python -m benchmarks --out DIR` puts outputs elsewhere, into memory for instance, where the disk is what limits.
"""

FAMILIES = (
    Family(
        workload="w1",
        title="W1: Parquet to Delta",
        short="Parquet to Delta",
        text="Five columns (id, float, integer, string, timestamp) in snappy Parquet files, into a new Delta table.",
    ),
    Family(
        workload="w2",
        title="W2: JSON lines to Delta",
        short="Nested JSON lines to Delta",
        text="Nested objects of about 200 bytes with a struct and two lists, gzip files, types inferred by everyone.",
    ),
    Family(
        workload="w2-malformed",
        title="W2 with malformed lines",
        short="JSON lines with 0.1 % malformed",
        text=(
            "The same rows with one malformed line after every thousand. Right is who writes exactly the good rows; "
            "lakeray must also have each bad one in quarantine."
        ),
    ),
    Family(
        workload="w3",
        title="W3: dirty CSV, five rules, quarantine",
        short="Dirty CSV to Delta and quarantine",
        text=(
            "Eight columns, five of them cast; 2 % of the rows break one or two of five rules and go into a second "
            "table with the first rule they break."
        ),
    ),
    Family(
        workload="w3-plain",
        title="W3 without a rule",
        short="Dirty CSV to Delta",
        text="The same rows, all written, what cannot be cast in rescued data: what the next two are compared with.",
    ),
    Family(
        workload="w3-full",
        title="W3 cleansed, checked, masked",
        short="CSV cleansed, checked, masked",
        text=(
            "The same rows: cleansing rules over all text columns, the five rules that quarantine, e-mail addresses "
            "become keyed digests."
        ),
    ),
    Family(
        workload="w3-soiled",
        title="W3 soiled, then cleansed, checked, masked",
        short="Soiled CSV cleansed, checked, masked",
        text=(
            "Every fifth row has blanks, upper case, synonyms, groups of thousands and foreign dates besides, which "
            "the same cleansing rules take back."
        ),
    ),
    Family(
        workload="w4",
        title="W4: changes merged by key",
        short="Merge",
        text=(
            "500,000 changes in Parquet files, half of them updates spread over the whole table, half new rows, into a "
            "Delta table of W1's columns. Memory is the proportional set size of the whole process tree, looked at in "
            "a run of its own; an idle Ray is part of lakeray's, and shown beside. In one process means "
            "`LAKERAY_EXECUTOR=inline`: no Ray, one core."
        ),
    ),
    Family(
        workload="w5",
        title="W5: planning against a large ledger",
        short="Planning",
        text=(
            "`lakeray plan` against a ledger of loaded objects, over a listing generated behind the ObjectStore port. "
            "Peak memory is that of the planning process (`ru_maxrss`)."
        ),
    ),
    Family(
        workload="latency",
        title="Latency of one small object",
        short="Latency",
        text=(
            "From writing an object of a few kilobytes to a reader that opens the table with delta-rs and counts its "
            "rows, on a warm process and Ray."
        ),
    ),
    Family(
        workload="memory",
        title="Memory",
        short="Memory",
        text=(
            "Resident memory (proportional set size) of the importing process and of everything below it, ten looks a "
            "second. "
            "An idle tree is Ray after a first small run."
        ),
    ),
)
