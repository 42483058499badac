# What one does here; `make` alone lists it.
BIN := .venv/bin
STAMP := .venv/.ready
FULL ?=

.PHONY: help setup demo test lint types imports bench clean

help:
	@echo "make setup   create .venv and install everything (minutes, once)"
	@echo "make demo    run studies/digits.py and explain what came out"
	@echo "make test    lint, types, import rules, tests: what CI runs"
	@echo "make bench   measure, with peers beside (FULL=1: the long form)"
	@echo "make clean   remove .venv, caches and what was built"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt .ci/setup
	@.ci/setup
	@touch $@

demo: $(STAMP)
	@$(BIN)/python studies/demo.py

test: lint types imports
	$(BIN)/pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python benchmarks/all.py $(if $(FULL),,--quick)

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist benchmarks/out
	find scheduler tui tests studies benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
