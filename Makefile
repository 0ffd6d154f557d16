# Everything one does with this repository. `make` alone lists it.
# Only `setup` (once, and after a change of the lock) and `lock` need the network.

PYTHON ?= python3
JOBS ?= 2
SEED ?= 1
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV_VERSION := 0.13.9
LOCK_FLAGS := --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo demo-region test test-slow check format sim engines bench lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(READY) ## make .venv with the pinned requirements and this project

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Antiphon needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)." >&2; \
	  echo "Name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "This Python cannot make virtual environments." >&2; \
	  echo "On Debian or Ubuntu: sudo apt install python3-venv; on Fedora: sudo dnf install python3-pip." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  echo "making $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "installing the pinned requirements"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## what Antiphon does, on a quarter of a million real messages
	@$(BIN)/antiphon demo $(ARGS)

demo-region: $(READY) ## real PostgreSQL and Valkey behind some of them: killed, caught up, forgotten, equal
	@$(BIN)/python -m servers
	@$(BIN)/python -m servers.region $(ARGS)

test: $(READY) ## all tests but the slow ones (ARGS="-k name" goes to pytest)
	@ANTIPHON_HYPOTHESIS=ci $(BIN)/python -m pytest -n $(JOBS) -m "not slow and not server" $(ARGS)

test-slow: $(READY) ## the slow tests, with deeper searches
	@ANTIPHON_HYPOTHESIS=slow $(BIN)/python -m pytest -n $(JOBS) -m slow $(ARGS)

check: $(READY) ## style, types, import contracts, documents: under a minute
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tools/check_docs.py

format: $(READY) ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

sim: $(READY) ## the simulation with one seed: make sim SEED=7
	@ANTIPHON_SIM_SEED=$(SEED) ANTIPHON_HYPOTHESIS=ci $(BIN)/python -m pytest -n $(JOBS) -m "not slow and not server" tests/simulation $(ARGS)

engines: $(READY) ## the contract suites, on real servers, which it installs and starts, or which URLs name
	@$(BIN)/python -m servers --or-named
	@ANTIPHON_HYPOTHESIS=ci $(BIN)/python -m pytest -n $(JOBS) -rs --dist loadfile -m "not slow" tests/contracts $(ARGS)

bench: $(READY) ## every figure beside its baseline (ARGS="NAME --json" for one)
	@$(BIN)/python -m bench $(ARGS)

lock: ## pin the requirements again (UPGRADE=1 takes newer releases)
	@test -x .venv-lock/bin/uv || { $(PYTHON) -m venv --clear .venv-lock; \
	  .venv-lock/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); }
	.venv-lock/bin/uv pip compile pyproject.toml --all-extras --group dev $(LOCK_FLAGS) -o requirements/dev.txt
	.venv-lock/bin/uv pip compile pyproject.toml -c requirements/dev.txt $(LOCK_FLAGS) -o requirements/core.txt
	@! grep -nE '://|^-' requirements/*.txt || { echo "the lock names a host" >&2; exit 1; }

clean: ## remove .venv and everything that was made
	rm -rf $(VENV) .venv-lock build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
