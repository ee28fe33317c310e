# What to do with this repository. `make` alone lists the targets.
#
# Everything is installed into .venv and nowhere else; what is installed is fixed, with checksums, by the two lock
# files. The demo needs the core one only.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# Any Python from 3.11 on: make PYTHON=python3.13 test
PYTHON ?= python3

# For `make lock`: LOCK_OPTIONS=--upgrade moves every pin, LOCK_OPTIONS='--upgrade-package duckdb' one of them.
LOCK_OPTIONS ?=

# For `make simulate`: how many simulations, and from which seed on. A failure prints the line that replays it.
SEEDS ?= 1000
FIRST_SEED ?= 0
PROCESSES ?= 2

# For `make mutants`: MUTANTS='--only "a part of a name"', or --note to have the seeds that find something tried first
# from now on.
MUTANTS ?=

# For `make bench` and `make bench-postgres`: TPC-H scale factor (1 is 1.5 million orders) and how often every contender runs.
BENCH_SCALE ?= 1
BENCH_ROUNDS ?= 5

BIN := .venv/bin
CORE := .venv/core.installed
DEV := .venv/dev.installed
FLIGHTS := examples/flights/data
# Does nothing when every checksum is right already, so the targets that need the data simply call it.
FETCH := $(BIN)/python scripts/fetch_flights.py

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z.-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

# --- to use -----------------------------------------------------------------------------------------------------

.PHONY: demo
demo: data ## install, fetch real flights, and run them through the example pipeline
	$(BIN)/penstock run examples/flights

.PHONY: data
data: $(CORE) ## fetch the flights of the example (8 MB, once) and check them
	@$(FETCH)

# --- to work on -------------------------------------------------------------------------------------------------

.PHONY: test
test: lint data ## everything that must hold before a change goes in: lint, types, tests
	$(BIN)/pytest

.PHONY: lint
lint: $(DEV) ## rules, formatting and types, without running anything
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

.PHONY: format
format: $(DEV) ## put every file into shape
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

# Chance decides when these tests strike; a failure prints the seed that repeats it: KILL_SEED=123 make kill
.PHONY: kill
kill: $(DEV) data ## kill the program at random moments, for minutes, and count every record afterwards
	$(BIN)/pytest -m kill

.PHONY: mutants
mutants: $(DEV) ## plant faults into copies of the code, and let the simulator find every one of them, for minutes
	$(BIN)/python -m scripts.mutants --processes $(PROCESSES) $(MUTANTS)

.PHONY: simulate
simulate: $(CORE) ## drive the hand-off through SEEDS hostile simulations, and check it after every step
	$(BIN)/python -m penstock.testing.simulation --first $(FIRST_SEED) --seeds $(SEEDS) --processes $(PROCESSES)

.PHONY: bench
bench: $(DEV) ## measure against other tools on this machine, see bench/README.md
	bench/environments.sh
	$(BIN)/python bench/run.py --scale $(BENCH_SCALE) --rounds $(BENCH_ROUNDS)

.PHONY: bench-latency
bench-latency: $(DEV) ## measure latency, streaming rate and back-pressure; prints tables, draws into docs/figures
	$(BIN)/python -m bench.latency

.PHONY: bench-postgres
bench-postgres: $(DEV) ## measure out of PostgreSQL into DuckDB and PostgreSQL, beside psql and dlt
	scripts/postgres.sh
	bench/environments.sh dlt
	$(BIN)/python -m bench.postgres --scale $(BENCH_SCALE) --rounds $(BENCH_ROUNDS)

.PHONY: soak
soak: $(DEV) ## slow the destination to a crawl for ten minutes in each mode: memory flat, nothing lost
	$(BIN)/python -m bench.soak

# --universal: one lock for every platform and every Python from 3.11 on. dev follows core, so that tests run
# on the versions that users get.
COMPILE = --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-python-downloads --custom-compile-command 'make lock' $(LOCK_OPTIONS)

.PHONY: lock
lock: $(DEV) ## write the lock files again after pyproject.toml or bench/requirements/*.in changed
	$(BIN)/uv pip compile $(COMPILE) --output-file requirements/core.txt pyproject.toml
	$(BIN)/uv pip compile $(COMPILE) --extra dev --constraints requirements/core.txt \
		--output-file requirements/dev.txt pyproject.toml
	$(BIN)/uv pip compile $(COMPILE) --output-file bench/requirements/dlt.txt bench/requirements/dlt.in
	$(BIN)/uv pip compile $(COMPILE) --output-file bench/requirements/bytewax.txt bench/requirements/bytewax.in

.PHONY: clean
clean: ## remove what can be made again: environments, caches, fetched data
	rm -rf .venv .bench .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist $(FLIGHTS)
	find src tests scripts examples bench -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment --------------------------------------------------------------------------------------------
# A stamp file stands for "installed as the lock says"; a newer lock or pyproject.toml makes it stale.

.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Penstock needs Python 3.11 or newer, and '$(PYTHON)' is not: try make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "'$(PYTHON)' has no venv module: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	@touch $@

# --no-deps: everything Penstock needs has just come from the lock.
$(CORE): .venv/made requirements/core.txt pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/core.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(DEV): $(CORE) requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

.venv: $(DEV) ## everything needed to work on Penstock, as locked
