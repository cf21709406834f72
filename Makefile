# `make train` and `make test` work from a bare clone: they make an environment in .venv first, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests are many small compilations: one process a core, each with one thread, beats threads in one process.
JOBS ?= auto
# Neighbours share what they have imported and compiled, so each process begins with a part of its own.
PARALLEL := -n $(JOBS) --dist worksteal
# How many random problems each sanitizer computes per thread; the programs' own number where it is empty.
PROBLEMS ?=
# Python keeps the bytecode of what it imports, beside it: of the 13,000 modules that are installed, those that are used
# are compiled then, and not all of them by pip.
export PIP_NO_COMPILE := 1
export PYTHONDONTWRITEBYTECODE :=
# What the native kernels are made of. A change builds them anew.
NATIVE := $(wildcard $(addprefix jaxconv/_native/,*.cpp *.h forms/*.h *.map *.cmake CMakeLists.txt))

.PHONY: help train test quick coverage lint sanitize bench docs site wheels clean

help:
	@echo "make train      train the MNIST example (configs/mnist.toml) into runs/mnist"
	@echo "make test       check style and types, then run the tests"
	@echo "make quick      run the tests that are not slow: a part of each table"
	@echo "make coverage   run the tests and say which lines of the package none of them reaches"
	@echo "make lint       style and types alone"
	@echo "make sanitize   run the native kernels under the address, undefined behaviour and thread sanitizers"
	@echo "make bench      time layers and networks against their peers, and write docs/benchmarks.md"
	@echo "make docs       build the pages of docs/ and the reference into site/"
	@echo "make site       look at them in Chromium, which has to be installed: links, keyboard, contrast, narrow screens"
	@echo "make wheels     build and check an sdist and the wheels of a release, into dist/"
	@echo "make clean      remove the environment and what runs have written"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "jaxconv needs Python 3.11 or newer, and $(PYTHON) is older: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A stamp per set of packages: a second call installs nothing unless the requirements have changed.
# The kernels' own programs need no more than this, and are made while the rest is installed.
$(VENV)/.cmake: | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet cmake ninja
	@touch $@

$(VENV)/.examples: pyproject.toml $(NATIVE) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[examples]"
	@touch $@

$(VENV)/.test: pyproject.toml tests/no_deps.txt $(NATIVE) | $(VENV)/.cmake
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	$(BIN)/python -m pip install --quiet --no-deps --requirement tests/no_deps.txt
	@touch $@ $(VENV)/.examples

$(VENV)/.benchmarks: pyproject.toml $(NATIVE) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[benchmarks]"
	@touch $@

$(VENV)/.release: pyproject.toml $(NATIVE) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[release]"
	@touch $@

$(VENV)/.docs: pyproject.toml $(NATIVE) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	@touch $@

$(VENV)/.site: pyproject.toml $(NATIVE) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[site,test]"
	@touch $@

train: $(VENV)/.examples
	$(BIN)/python -m examples.train --config configs/mnist.toml --out runs/mnist

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(shell find jaxconv tests tools -name '*.h' -o -name '*.cpp')
	$(BIN)/pyright

test: lint
	JAXCONV_OF_EACH=3 $(BIN)/python -m pytest $(PARALLEL) --durations=25

quick: $(VENV)/.test
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

coverage: $(VENV)/.test
	$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report=term-missing:skip-covered

bench: $(VENV)/.benchmarks
	$(BIN)/python -m benchmarks

# The kernels alone, in programs of their own: neither Python nor JAX can run under a sanitizer.
sanitize: $(VENV)/.cmake
	$(BIN)/cmake -S tests/native/cpp -B build/sanitize -G Ninja -D CMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja)
	$(BIN)/cmake --build build/sanitize --parallel
	build/sanitize/axes
	build/sanitize/kernels_address $(if $(PROBLEMS),--problems $(PROBLEMS))
	build/sanitize/kernels_thread $(if $(PROBLEMS),--problems $(PROBLEMS))

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

site: $(VENV)/.site
	$(BIN)/python -m pytest tests/site

wheels: $(VENV)/.release
	$(BIN)/python tools/wheels.py

clean:
	rm -rf $(VENV) runs build dist
