#!/usr/bin/env bash
# Builds the environment with the peers once, measures, renders the page. Arguments go to `python -m benchmarks`: try --quick.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.bench-venv
python="$venv/bin/python"
stamp="$venv/.installed"

if [[ ! -f $stamp || benchmarks/requirements.txt -nt $stamp || pyproject.toml -nt $stamp ]]; then
  if [[ ! -x $python ]]; then
    for base in ${PYTHON:-python3.12 python3.11 python3}; do
      # Not only looked up: a version manager has names for versions that are not there.
      "$base" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
    done
    echo "environment: $("$base" --version) -> $venv (the project and its peers, about two minutes)"
    "$base" -m venv "$venv"
  fi
  "$python" -m pip install --quiet --disable-pip-version-check --editable . --requirement benchmarks/requirements.txt
  touch "$stamp"
fi

status=0
"$python" -m benchmarks "$@" || status=$?
for argument in "$@"; do
  # A smoke test measures nothing, so nothing is shown of it; --help neither.
  [[ $argument == --quick || $argument == --results* || $argument == --help || $argument == -h ]] && exit "$status"
done
"$python" -m benchmarks.render
exit "$status"
