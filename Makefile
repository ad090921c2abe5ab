# groundup: `make quickstart` runs the whole story, `make test` the tests; `make help` lists the rest.
#
# Each target makes `.venv` and installs what it needs first, once: a stamp file in `.venv` is as new as the install that
# it stands for, and pyproject.toml or constraints.txt being newer means installing again.

VENV := .venv
RUN := $(VENV)/bin/python
# Peers that the benchmarks compare with, away from the tests' environment: their pins may clash with ours.
BENCH := .venv-bench
PEERS := $(filter-out %-alone,$(patsubst benchmarks/requirements-%.txt,%,$(wildcard benchmarks/requirements-*.txt)))
# torch is named in the command itself so that pip settles its version before anything else asks for a newer one.
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
INSTALL := $(RUN) $(PIP_INSTALL) --constraint constraints.txt "torch==2.13.*"
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# Short tests only; gpu tests skip themselves where there is no device, and nothing here needs the internet.
FAST := not slow and not network

.PHONY: help quickstart test test-all check bench clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

quickstart: $(VENV)/.installed-quickstart ## real text to a chat, about ten minutes; SHORT=1: the same path, small
	$(VENV)/bin/groundup quickstart $(if $(filter-out 0,$(SHORT)),--short)

test: $(VENV)/.installed-dev ## the tests (without the slow ones)
	$(RUN) -m pytest -m "$(FAST)"

test-all: $(VENV)/.installed-dev ## the tests, the slow ones too
	$(RUN) -m pytest -m "not network"

check: $(VENV)/.installed-dev ## lint, format, types, import contracts
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright
	$(VENV)/bin/lint-imports

bench: ## every benchmark, hours; one area: make bench-AREA, its options in ARGS="--quick"
	@for file in benchmarks/*.py; do $(MAKE) --no-print-directory bench-$$(basename "$$file" .py) || exit 1; done

$(foreach area,$(PEERS),bench-$(area)): bench-%: $(BENCH)/.installed-%
	$(BENCH)/bin/python benchmarks/$*.py $(ARGS)

bench-%: $(VENV)/.installed-dev
	$(RUN) benchmarks/$*.py $(ARGS)

clean: ## remove the environments and caches; runs/ is kept
	rm -rf $(VENV) $(BENCH) benchmarks/.cache build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf src/*.egg-info

$(VENV)/.installed-quickstart: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing groundup and what it needs into $(VENV) (one to three minutes, once; torch is the largest part) ..."
	$(INSTALL) --editable ".[quickstart]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing groundup and the test tools into $(VENV) (one to three minutes, once; torch is the largest part) ..."
	$(INSTALL) --editable ".[dev]"
	@touch $@ $(VENV)/.installed-quickstart

$(BENCH)/.installed-%: benchmarks/requirements-%.txt $(BENCH)/.made pyproject.toml
	@echo "Installing groundup and its peers into $(BENCH) (one to three minutes, once) ..."
	$(BENCH)/bin/python $(PIP_INSTALL) "torch==2.13.*" --editable . --requirement $<
	$(if $(wildcard benchmarks/requirements-$*-alone.txt),$(BENCH)/bin/python $(PIP_INSTALL) --no-deps --requirement benchmarks/requirements-$*-alone.txt)
	@touch $@

$(VENV)/.made $(BENCH)/.made:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "groundup needs Python 3.11 or newer, and '$(PYTHON)' is not one. Install it, or name yours:"; \
	  echo "  make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(@D)/bin/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(@D) || { \
	  echo "Could not make $(@D); on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@touch $@
