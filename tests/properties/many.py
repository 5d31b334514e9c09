"""Merge and scd2 are driven with thousands of random streams, in processes side by side, each from a seed of its own.

``python -m tests.properties.many --examples 2000 --seed 1``; the seeds are printed, and the same seed makes the same
streams. When the time is over, what has run so far counts, and is told. The exit code is 0 when every stream ended as
the oracle says and as many ran as were asked for.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FILES = ("tests/properties/test_merge_machine.py", "tests/properties/test_concurrent_merges.py")
TESTS = 10
"""How many tests these files have: each runs its share of the streams."""


def main() -> int:
    """Run them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=2000, help="streams in all")
    parser.add_argument("--minutes", type=float, default=60, help="no process runs longer")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    each = -(-asked.examples // (TESTS * asked.processes))
    with tempfile.TemporaryDirectory() as folder:
        seeds = [asked.seed + number for number in range(asked.processes)]
        told = {seed: Path(folder, f"{seed}.out") for seed in seeds}
        tallies = {seed: Path(folder, f"{seed}.tally") for seed in seeds}
        say(f"{TESTS} tests, {each} streams each, seeds {', '.join(map(str, seeds))}")
        running = {seed: start(seed, each, told[seed], tallies[seed]) for seed in seeds}
        end = time.monotonic() + 60 * asked.minutes
        codes = {seed: ended(process, end) for seed, process in running.items()}
        counts = {seed: tallies[seed].stat().st_size if tallies[seed].exists() else 0 for seed in seeds}
        for seed, code in codes.items():
            how = {0: "all as the oracle says", None: "the time was over"}.get(code, f"exit code {code}")
            say(f"seed {seed}: {counts[seed]} streams, {how}")
            if code not in (0, None):
                say(told[seed].read_text(errors="replace")[-20_000:])
    enough = sum(counts.values()) >= asked.examples
    say(f"{sum(counts.values())} streams in all, {asked.examples} were asked for")
    return 0 if enough and all(code in (0, None) for code in codes.values()) else 1


def start(seed: int, examples: int, told: Path, tally: Path) -> subprocess.Popen[bytes]:
    """One process with its own seed."""
    command = [sys.executable, "-m", "pytest", *FILES, f"--hypothesis-seed={seed}", "-p", "no:cacheprovider"]
    environment = {
        **os.environ,
        "LAKERAY_PROPERTY_EXAMPLES": str(examples),
        "LAKERAY_PROPERTY_TALLY": str(tally),
    }
    with told.open("wb") as out:
        return subprocess.Popen([*command, "--timeout", "0"], env=environment, stdout=out, stderr=subprocess.STDOUT)


def ended(process: subprocess.Popen[bytes], end: float) -> int | None:
    """The process's exit code; None when the time was over before."""
    try:
        return process.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def say(text: str) -> None:
    """To whoever waits."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
