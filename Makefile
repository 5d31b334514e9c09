# lakeray: `make help` explains every target.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SEED ?= $(shell date +%s)
KILLS ?= 200
CHAOS ?= tests
EXAMPLES ?= 2000
MINUTES ?= 60

##@ Start here
.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*##"} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*##/ {printf "  make %-14s %s\n", $$1, $$2}' Makefile

.PHONY: demo
demo: $(STAMP) ## Generate a sample lake, import it, import what is new, show the report
	@$(BIN)/lakeray demo

.PHONY: test
test: $(STAMP) servers ## Every server the tests need, then the tests (about half an hour on two cores)
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal $(ARGS)

##@ Before a change lands
.PHONY: lint
lint: $(STAMP) ## Style, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYTHONPATH=. $(BIN)/lint-imports

.PHONY: format
format: $(STAMP) ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only .

.PHONY: chaos
chaos: $(STAMP) servers ## Kill imports and runs at random times (KILLS=200 SEED=...), on every backend
	@LAKERAY_CHAOS_KILLS=$(KILLS) LAKERAY_CHAOS_SEED=$(SEED) $(BIN)/python -m pytest $(CHAOS) -m chaos --timeout 7200

.PHONY: properties
properties: $(STAMP) ## Merge random streams of changes (EXAMPLES=2000 MINUTES=60 SEED=...) and compare with an oracle
	@$(BIN)/python -m tests.properties.many --examples $(EXAMPLES) --minutes $(MINUTES) --seed $(SEED)

.PHONY: scale
scale: $(STAMP) ## Memory while importing 1 GB, 10 GB and one object of 2 GB
	@$(BIN)/python -m benchmarks.memory

##@ Measure
.PHONY: bench
bench: ## Compare with the peers (their own environment in .bench-venv); writes benchmarks/README.md (ARGS=--quick)
	@bash benchmarks/run.sh $(ARGS)

##@ Environment
.PHONY: env
env: $(STAMP) ## Make the virtual environment in .venv

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "lakeray needs Python 3.11, 3.12 or 3.13: install one, or say make PYTHON=/path/to/python"; exit 2; }
	@echo "environment: $$($(PYTHON) --version) -> $(VENV) (about two minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

.PHONY: servers
servers: ## Install the servers that the tests start (S3, Azure)
	@bash tests/servers/install.sh

.PHONY: clean
clean: ## Remove what the targets above made
	@rm -rf $(VENV) .bench-venv .bench-data .servers demo-lake .lakeray build dist *.egg-info
