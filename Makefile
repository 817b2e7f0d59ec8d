# `make help` lists what there is. Everything happens in .venv of this checkout; nothing is installed outside of it,
# but the programs of MariaDB where they are missing (no service: the tests and the demo run servers of their own).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
ARGS ?=
# Files of tests that run at the same time, each process with servers of its own. A third of their time is waiting.
TEST_PROCESSES ?= 3
# Folders that take longer than a commit may: they have targets of their own.
LONG_TESTS := tests/bench tests/faults/each tests/real tests/soak tests/systemd

export PATH := $(PATH):/usr/sbin:/sbin
export PYTHONUNBUFFERED := 1

.PHONY: help demo test bench bench-peers test-faults test-matrix test-real test-systemd deb lock audit fuzz lint clean environment servers prometheus browser

help: ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: environment servers ## an ERP and a shop kept in step before your eyes; ARGS="--seconds 20" bounds it, ARGS=--help tells more
	@PYTHONPATH=tests exec $(BIN)/python -m demo $(ARGS)

# The tests run also when style or types fail: one run shows everything. A caller that gives STATUS_FILE gets the exit
# status there, and pytest's summary as the last line (see .ci/run).
test: environment servers prometheus browser ## style, types, rules and all tests but the long ones; ARGS goes to pytest
	@status=0; $(MAKE) lint || status=1; $(MAKE) audit || status=1; \
	$(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile $(LONG_TESTS:%=--ignore=%) $(ARGS) || status=$$?; \
	if [ -n "$(STATUS_FILE)" ]; then echo $$status > "$(STATUS_FILE)"; exit 0; fi; \
	exit $$status

bench: environment servers ## how fast, beside peers in the same run; ARGS="--scale 0.1 W1 W3", ARGS=--help tells more
	@PYTHONPATH=tests exec $(BIN)/python -m bench $(ARGS)

bench-peers: ## Debezium and pg_chameleon for `make bench`, in environments of their own; needs Java and 500 MB
	@.ci/bench-peers $(PEERS)

# What syncs and clocks do needs a C compiler; without one those faults are left out, and it is said.
test-faults: environment servers ## everything fails while both sides write; ARGS="--transactions 1000000 --faults 500" makes it long
	@command -v cc >/dev/null || .ci/apt gcc libc6-dev || true
	@PYTHONPATH=tests exec $(BIN)/python -m faults $(ARGS)

test-matrix: environment servers ## contract, integration and fault tests against every supported server; ARGS="--only=mysql" runs one
	@$(BIN)/python .ci/matrix.py $(ARGS)

test-real: environment servers ## Tryton and Oscar with the template between them; ARGS="--seconds 600" keeps them busy longer (60)
	@$(BIN)/pytest tests/real $(ARGS)

test-systemd: environment servers ## installed as a service in a Debian that systemd has booted: notify, watchdog, reload, package; needs root
	@.ci/apt systemd-container debootstrap || true
	@$(BIN)/pytest tests/systemd $(ARGS)

deb: environment ## dist/cdcd_VERSION_ARCHITECTURE.deb, with all it needs in an environment of its own
	@.ci/deb $(VENV)

lock: ## write requirements.txt anew: the newest versions that pyproject.toml allows, with their hashes
	@.ci/lock "$${PYTHON:-python3}"

audit: environment ## whether a package of the lock has a known vulnerability; part of `make test`
	@$(BIN)/python .ci/audit.py

fuzz: $(VENV)/installed-fuzz ## the decoders against mutated logs; ARGS="--seconds 3600" (60)
	@$(BIN)/python .ci/fuzz.py $(ARGS)

lint: environment ## style and types alone
	@$(BIN)/ruff check --quiet --output-format concise .
	@$(BIN)/ruff format --quiet --check . || { echo "not formatted: run $(BIN)/ruff format"; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@MYPYPATH=tests $(BIN)/mypy --no-error-summary tests/demo

clean: ## remove .venv, .venv-peers and everything the tools have left
	@rm -rf $(VENV) $(PEERS) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# ---- what demo and test stand on ----------------------------------------------------------------------------

environment: $(VENV)/installed

$(VENV)/installed: pyproject.toml requirements.txt .ci/environment
	@.ci/environment $(VENV)

$(VENV)/installed-fuzz: $(VENV)/installed
	@.ci/environment $(VENV) fuzz

servers:
	@.ci/servers

prometheus:
	@.ci/prometheus $(VENV)/prometheus

browser:
	@.ci/browser
