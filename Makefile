# make run | make test | make serve | make bench      Every target creates .venv first if it is missing.
PYTHON ?= python3.11
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install run smoke test test-slow lint serve bench lock

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: .venv/.installed  ## create .venv and install what requirements.lock pins

.venv/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

run: install  ## run all methods (small profile) and print the verdicts
	$(BIN)/unlabeled run --all

test: install  ## the tests, without the slow ones
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadgroup

test-slow: install  ## the slow tests: minutes each
	$(BIN)/python -m pytest -m slow

lint: install  ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

serve: install  ## Prefect server, MLflow UI and a worker on 127.0.0.1
	$(BIN)/unlabeled serve

bench: install  ## measure; nothing here is a test
	for file in tests/benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

lock:  ## resolve pyproject.toml anew into requirements.lock
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --editable ".[dev,s3,servers]" setuptools
	.venv-lock/bin/python -m pip freeze --all --exclude-editable --exclude pip | sed 's/+cpu$$//' > requirements.lock
	rm -rf .venv-lock
