#!/usr/bin/env bash
# Builds the environment with the peers once, measures, renders the page. Arguments go to `python -m benchmarks`: try --quick.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.bench-venv
python="$venv/bin/python"
stamp="$venv/.installed"

if [[ ! -f $stamp || benchmarks/requirements.txt -nt $stamp || pyproject.toml -nt $stamp ]]; then
  base="${PYTHON:-$(command -v python3.12 || command -v python3.11 || command -v python3)}"
  echo "environment: $base -> $venv (the project and its peers, about two minutes)"
  [[ -x $python ]] || "$base" -m venv "$venv"
  "$python" -m pip install --quiet --disable-pip-version-check --editable . --requirement benchmarks/requirements.txt
  touch "$stamp"
fi

"$python" -m benchmarks "$@"
for argument in "$@"; do
  # A smoke test measures nothing, so nothing is shown of it; --help neither.
  [[ $argument == --quick || $argument == --results* || $argument == --help || $argument == -h ]] && exit 0
done
"$python" -m benchmarks.render
