# `make` prints what there is. Everything installs into .venv; nothing else is touched but tshark, through apt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# As many processes as there are processors; for a file or a folder plain pytest is faster.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

# Hundreds of tests start Python: without what it compiled the time before each does it all again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

help:  ## show this
	@grep -hE '^[a-z-]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/:.*  ## /\t/' | expand -t 16

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV) || { echo "the venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(STAMP)

install: $(STAMP)  ## install into .venv

tshark:
	@command -v tshark >/dev/null || sh tests/install-tshark.sh

demo: $(STAMP)  ## dissect a bundled capture, replay its upload to the embedded server, print the comparison
	@sh captures/demo.sh $(BIN)

test: $(STAMP) tshark  ## run the tests (the ones that need tshark skip, saying so, where it is missing)
	$(PYTEST)

check: $(STAMP) tshark  ## format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST)

format: $(STAMP)  ## format the sources
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

golden: $(STAMP)  ## rewrite the golden trees; review the diff
	$(BIN)/python -m pytest tests/test_golden.py --golden

coverage-table: $(STAMP)  ## write docs/coverage.md: which ROP forms rest on which bytes
	$(BIN)/python -m tests.coverage_table

diagnosis-page: $(STAMP)  ## write docs/diagnosis.md: what each rule finds, what to do next, how it is tested
	$(BIN)/python -m tests.diagnosis_page

fuzz: $(STAMP)  ## twenty times the property tests' examples, and new ones; twenty times the damaged captures
	$(PYTEST) --hypothesis-profile more -m "hypothesis or mutated"

bench: $(STAMP) tshark  ## measure against tshark on the same generated file; prints ratios
	$(BIN)/python -m bench

profile: $(STAMP)  ## where the time of a command goes (COMMAND="tree -T jsonl", CAPTURE=a generated one)
	$(BIN)/python -m bench.profile "$(or $(COMMAND),list)" $(CAPTURE)

clean:  ## remove what was installed and generated
	rm -rf $(VENV) bench/data .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help install tshark demo test check format golden coverage-table diagnosis-page fuzz bench profile clean
