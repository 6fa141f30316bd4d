# SPDX-License-Identifier: Apache-2.0
# Everything runs in .venv, installed from .ci/constraints.txt; nothing needs root.
#
#   make demo              a simulated store, end to end; its files stay below /tmp   [SEED=7] [KEEP=1]
#   make test              the checks and the whole test suite   [TORCH=0: without ultralytics] [JOBS=3]
#   make acceptance        the demo on ten seeds, then killed twenty times: half an hour
#   make soak              simulated days with faults   [MINUTES=10 or SEEDS=1-10000]
#   make bench             the design's limits on a simulated nano-store, some minutes
#   make endure            half an hour of cuts and kills under a nano-store's load   [MINUTES=30]
#   make fuzz              every decoder under libFuzzer   [SECONDS=60 for each]
#   make check             linter, formatter and types alone

COMMA := ,
PYTHON ?= python3
TORCH ?= 1
# Many tests wait for processes and sockets: three at once keep two cores at work.
JOBS ?= 3
VENV := .venv
BIN := $(VENV)/bin
INPUTS := pyproject.toml .ci/constraints.txt
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint .ci/constraints.txt
# setuptools is pinned too, so the build takes the installed one.
INSTALL := PYTHONWARNINGS=ignore $(PIP) --no-build-isolation --editable
TEST_BASE := dev$(COMMA)vision$(COMMA)codes$(COMMA)openvino$(COMMA)ncnn
TEST_EXTRAS := $(if $(filter 1,$(TORCH)),$(TEST_BASE)$(COMMA)ultralytics,$(TEST_BASE))
TEST_STAMP := $(VENV)/.test-torch-$(TORCH)

# Tests start hundreds of processes: what each compiles is kept, wherever the environment asks for
# the contrary.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check acceptance soak bench endure fuzz asyncapi clean

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/.demo
	$(BIN)/shelfgate demo --keep-files "$$(mktemp -d -t shelfgate-demo-XXXXXX)" \
	  $(if $(SEED),--seed $(SEED)) $(if $(KEEP),--keep-going)

test: check asyncapi
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(TEST_STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

acceptance: $(TEST_STAMP)
	$(BIN)/python -m tests.acceptance $(ARGS)

soak: $(TEST_STAMP)
	$(BIN)/python -m tests.soak $(if $(SEEDS),--seeds $(SEEDS),--minutes $(or $(MINUTES),10))

bench: $(TEST_STAMP)
	$(BIN)/python -m tests.bench $(ARGS)

endure: $(TEST_STAMP)
	$(BIN)/python -m tests.endure --minutes $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED)) $(ARGS)

fuzz: $(TEST_STAMP) $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60) $(ARGS)

# The AsyncAPI project's own parser, where there is npm; its test says so where there is none.
asyncapi: $(VENV)/asyncapi/.installed

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .fuzz build *.egg-info

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'make: python: older than 3.11. Give a newer one: make PYTHON=python3.11' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo 'make: venv: cannot be made. Install python3-venv, then: make clean' >&2; exit 1; }
	@$(PIP) setuptools
	@touch $@

$(VENV)/.demo: $(VENV)/.made $(INPUTS)
	@echo 'Installing shelfgate into $(VENV) (some minutes the first time) ...'
	@$(INSTALL) '.[vision]'
	@touch $@

$(TEST_STAMP): $(VENV)/.made $(INPUTS)
	@echo 'Installing shelfgate and its tests into $(VENV) (some minutes the first time) ...'
	@$(INSTALL) '.[$(TEST_EXTRAS)]'
	@touch $(VENV)/.demo $@

$(VENV)/.fuzz: $(VENV)/.made $(INPUTS)
	@$(INSTALL) '.[fuzz]'
	@touch $@

$(VENV)/asyncapi/.installed: $(VENV)/.made .ci/asyncapi/package.json .ci/asyncapi/package-lock.json
	@mkdir -p $(VENV)/asyncapi
	@cp .ci/asyncapi/package.json .ci/asyncapi/package-lock.json $(VENV)/asyncapi
	@if command -v npm >/dev/null; then \
	  npm ci --prefix $(VENV)/asyncapi --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error && touch $@; \
	else echo 'make: npm: not found, the AsyncAPI document stays unvalidated. Install npm' >&2; fi
