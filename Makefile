# Every target does its own set-up; needed are make and Python 3.10 or newer with venv and pip.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RUN := $(BIN)/python run_downstream.py

.PHONY: help demo test test-slow install clean

help:
	@echo "make demo       install, then train and evaluate TERA on the built-in corpus (asr)"
	@echo "make test       install, then lint, types, import contract and the fast tests"
	@echo "make test-slow  install, then the end-to-end tests"
	@echo "make install    create $(VENV) and install into it"
	@echo "make clean      remove $(VENV) and what tools leave behind"

install: $(READY)

# Once, and again whenever the dependencies change.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Weir needs Python 3.10 or newer, this is " + sys.version.split()[0] + "; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,dev]'
	@touch $@

demo: $(READY)
	$(RUN) -m train -u tera -d asr -n demo --demo --overwrite
	$(RUN) -m evaluate -u tera -d asr -n demo --demo
	@echo "Results: result/downstream/demo/results.json (predictions in result/downstream/demo/predictions/)" >&2

test: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
