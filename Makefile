# `make demo` and the tests need Python 3.11 or later and a network the first time; all goes into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Tests with these marks need a cluster, a browser, a clean installation or minutes.
SLOW := slurm or browser or install or slow
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE \
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-slow test-all lint clean

demo: $(INSTALLED)
	$(BIN)/tollgate run -m experiment=demo

test: $(INSTALLED)
	$(PYTEST) -m "not ($(SLOW))"

test-slow: $(INSTALLED)
	$(PYTEST) -m "$(SLOW)"

test-all: test test-slow

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) store outputs

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed; name one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	@touch $@
