# One verb each; every one of them sets up what it needs. Needs python3 (3.11 or newer), git and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench-delivery bench-collect faults pictures docs constraints clean

help:  ## Show what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; make PYTHON=python3.12 names another one" >&2; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt uv
	UV_PYTHON_DOWNLOADS=never $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)  ## Do the whole job on sample content and serve it at http://127.0.0.1:8000
	@$(BIN)/syndicate demo

test: $(READY) lint  ## Run every check and every test
	$(BIN)/pytest -n 2 --cov --cov-report=term

lint: $(READY)  ## Style, types, and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## Put the code into its form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench-delivery: $(READY)  ## Print what delivering costs, beside other senders (BENCH=--full: with a million readers)
	$(BIN)/python -m scripts.bench_delivery $(BENCH)

bench-collect: $(READY)  ## Print what collecting costs, beside other readers
	$(BIN)/python -m scripts.bench_collect $(BENCH)

faults: $(READY)  ## Break everything that can break, in the long form, and account for every mail (an hour)
	$(BIN)/python -m tests.faults.kill --database sqlite
	$(BIN)/python -m tests.faults.kill --database postgresql
	$(BIN)/python -m tests.faults.points --database sqlite
	$(BIN)/python -m tests.faults.points --database postgresql --readers 10
	$(BIN)/python -m tests.faults.unclear
	$(BIN)/python -m tests.faults.tarpit
	$(BIN)/python -m tests.faults.two_senders --database sqlite
	$(BIN)/python -m tests.faults.two_senders --database postgresql
	$(BIN)/python -m tests.faults.stops
	$(BIN)/python -m tests.faults.breakdowns
	$(BIN)/python -m tests.faults.machine

pictures: $(READY)  ## Render mails and pages in Chromium at three widths, light and dark, into pictures/
	$(BIN)/python scripts/pictures.py

docs: $(READY)  ## Write the reference of commands, settings and routes anew
	$(BIN)/python scripts/reference.py

constraints: $(READY)  ## Choose versions anew, without the address of an index
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate --all-extras --output-file constraints.txt pyproject.toml constraints.in

clean:  ## Remove what the verbs above made
	rm -rf $(VENV) pictures .coverage* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
