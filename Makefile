# Every target sets up what it needs: a virtual environment in $(VENV), with every package at the version in constraints.txt.
#
#   PYTHON       the Python that makes the environment; by default the first of python3.11 ... python3.14, python3 that serves
#   VENV         the environment's folder
#   LOWEST       the folder of the environment of `make test-lowest`
#   JOBS         how many processes run the tests
#   ARGS         further arguments of pytest: make test ARGS="-k masks -x"

PYTHON ?=
VENV ?= .venv
LOWEST ?= .venv-lowest
JOBS ?= 2
ARGS ?=

BIN := $(VENV)/bin
TORCH := $(shell grep '^torch==' constraints.txt)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
READY := $(VENV)/.ready
SPHINX := $(BIN)/python -m sphinx -W --keep-going -q -d docs/_build/doctrees
# One thread a process: two OpenMP threads on a busy machine can be ten times slower than one. No test needs a network or a screen.
QUIET := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 MPLBACKEND=Agg
PYTEST := $(QUIET) $(BIN)/python -m pytest

.DELETE_ON_ERROR:
.PHONY: help setup demo test test-slow test-lowest coverage lint format security types docs check constraints clean clean-all

help:  ## list the targets (the default)
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r target text; do printf '%-12s %s\n' "$$target" "$$text"; done

setup: $(READY)  ## make the virtual environment, unless it is up to date

demo: $(READY)  ## train on the digits, and write samples, completions and the training curve
	$(BIN)/python -m nextpixel.demo

test: $(READY)  ## the fast tests and the docstrings' examples
	$(PYTEST) -n $(JOBS) --dist worksteal -m "not slow" $(ARGS)

test-slow: $(READY)  ## the tests that take more than five seconds each
	$(PYTEST) -n $(JOBS) --dist worksteal -m slow --timeout 1800 $(ARGS)

test-lowest: $(LOWEST)/.ready  ## the fast tests with Python 3.11 and the lowest versions that pyproject.toml allows
	$(QUIET) $(LOWEST)/bin/python -m pytest -n $(JOBS) --dist worksteal -m "not slow" $(ARGS)

coverage: $(READY)  ## the fast tests, with the lines and branches that they miss
	$(BIN)/python -m coverage erase
	$(QUIET) $(BIN)/python -m coverage run -m pytest -m "not slow" $(ARGS)
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report

lint: $(READY)  ## ruff: rules and format
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check

format: $(READY)  ## let ruff mend what it can
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

security: $(READY)  ## bandit; pip-audit would need a network
	$(BIN)/python -m bandit -q -c pyproject.toml -r nextpixel

types: $(READY)  ## mypy, strict
	$(BIN)/python -m mypy

docs: $(READY)  ## build docs/_build/html and run the pages' examples; a warning is an error
	$(SPHINX) -b html docs docs/_build/html
	OMP_NUM_THREADS=1 $(SPHINX) -b doctest docs docs/_build/doctest

check: lint security types docs test test-slow  ## everything above that can fail

constraints: $(READY)  ## pin what the environment holds now
	@sed -n '/^#/p' constraints.txt > constraints.new
	@{ grep '^uv==' constraints.txt; $(BIN)/python -m pip list --format freeze --exclude pip --exclude nextpixel \
		| sed 's/+.*//' | tr _ -; } | LC_ALL=C sort -f >> constraints.new
	@mv constraints.new constraints.txt

clean:  ## remove what the tools wrote, except the environment
	rm -rf docs/_build dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find nextpixel tests -name __pycache__ -type d -prune -exec rm -rf {} +

clean-all: clean  ## remove the environments too
	for folder in $(VENV) $(LOWEST); do if [ -e $$folder/pyvenv.cfg ]; then rm -rf $$folder; fi; done

# --- Set-up --------------------------------------------------------------------------------------------------------------

$(BIN)/python:
	@for python in $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3 python); do \
		if $$python -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then \
			echo "Making $(VENV) with $$($$python --version)"; \
			exec $$python -m venv --clear $(VENV); \
		fi; \
	done; \
	echo "nextpixel needs Python 3.11, 3.12, 3.13 or 3.14 with its venv module, and $(or $(PYTHON),this machine's PATH) has none:" \
		"install one (Debian, Ubuntu: the package python3-venv too), or name one with 'make PYTHON=/path/to/python3 ...'." >&2; \
	exit 1

# torch comes first and alone, at exactly the pinned version. Without an NVIDIA GPU its CPU build is taken: from what pip
# itself knows, else by uv, which knows PyTorch's own indexes; where neither has it, the ordinary build (gigabytes larger).
$(VENV)/.torch: $(BIN)/python constraints.txt
	@if nvidia-smi -L >/dev/null 2>&1 || [ "$$(uname)" != Linux ]; then \
		$(INSTALL) $(TORCH) || exit 1; \
	else \
		echo "No NVIDIA GPU answers: looking for the CPU build of $(TORCH)."; \
		$(INSTALL) "$(TORCH)+cpu" 2>/dev/null \
			|| { $(INSTALL) uv && $(BIN)/uv pip install --python $(BIN)/python --torch-backend cpu $(TORCH); } \
			|| { echo "No CPU build can be had from here: taking the ordinary one." >&2; $(INSTALL) $(TORCH); } \
			|| exit 1; \
	fi; \
	$(BIN)/python -W ignore -c 'import torch; print("torch", torch.__version__, "with CUDA" if torch.version.cuda else "without CUDA")'
	@touch $@

# hatchling and its plug-in stand in the environment, so that the build uses the pinned one: pip 23 does not apply constraints to a build of its own.
$(READY): $(VENV)/.torch pyproject.toml constraints.txt
	@echo "Installing nextpixel and what it needs; this takes a minute."
	@$(INSTALL) hatchling hatch-fancy-pypi-readme
	@$(INSTALL) --no-build-isolation --editable '.[data,plots,tensorboard,demo,dev,docs]'
	@touch $@

# uv takes the lowest version of what pyproject.toml names, and the newest of what those need. Again the CPU build of torch
# comes from PyTorch's own index where it can be reached.
$(LOWEST)/.ready: $(BIN)/python pyproject.toml
	@$(INSTALL) uv
	@$(BIN)/uv venv --quiet --clear --python 3.11 $(LOWEST)
	@install="$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct"; \
		$$install --torch-backend cpu --editable '.[data,plots,tensorboard,dev]' 2>/dev/null \
			|| $$install --editable '.[data,plots,tensorboard,dev]'
	@touch $@
