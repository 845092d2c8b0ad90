# Every target sets up what it needs in .venv, on a machine with Python 3.11 or newer, git and make.
# The second time it is quick: what was installed is remembered in .venv/.<name> stamps.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# What is compared with PyTorch itself lives beside the repository.
CONFORMANCE ?= ../shared/conformance
TORCH ?= torch==2.13.0

.DEFAULT_GOAL := help
.PHONY: help demo test examples conformance bench lint format clean

help:  ## List the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

demo: $(VENV)/.demo  ## Learn handwritten digits, draw what was learned (MNIST=folder: the full set)
	$(BIN)/python -m facula.demo $(if $(MNIST),--data $(MNIST))

test: $(VENV)/.test  ## Run the tests
	$(BIN)/python -m pytest -n 2 $(ARGS)

examples: $(VENV)/.demo  ## Run the tutorials' programs, comparing what they print, then examples/
	$(BIN)/python tests/seeds/check.py
	$(BIN)/python examples/run.py

conformance: $(VENV)/.torch  ## Compare with PyTorch (installs it): seeds, then the conformance scripts
	$(BIN)/python tools/record_seed_outputs.py --check
	$(BIN)/python tools/checkpoint_matrix.py
	$(BIN)/python tools/optimizer_exchange.py
	$(BIN)/python tools/conformance.py --scripts $(CONFORMANCE) $(ARGS)

bench: $(VENV)/.demo  ## Time facula (beside PyTorch where it is installed)
	$(BIN)/python -m benchmarks $(ARGS)

lint: $(VENV)/.dev  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev  ## Format, and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove the environment and everything generated
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-output bench-output examples/output conformance-output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "facula needs Python 3.11 or newer (set PYTHON=...)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml | $(BIN)/python
	$(PIP) install --editable .
	@touch $@

$(VENV)/.demo $(VENV)/.test $(VENV)/.dev: $(VENV)/.%: $(VENV)/.base
	$(PIP) install --editable '.[$*]'
	@touch $@

$(VENV)/.torch: $(VENV)/.test
	$(PIP) install '$(TORCH)' --extra-index-url https://download.pytorch.org/whl/cpu expecttest
	@touch $@
