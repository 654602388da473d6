# Every target sets up what it needs: only python3 (3.11+), make and git have to be there.
.DEFAULT_GOAL := help
.PHONY: help setup browser demo test test-full check bench lock format clean

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
export ORACLE_HOME ?= $(CURDIR)/.oracle
export ORACLE_DATA ?= $(wildcard $(abspath ../shared/data))

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("ORACLE needs Python 3.11 or newer; this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing packages (the first time this takes a minute or two)"
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(STAMP) ## Install everything into .venv

demo: setup ## Start a simulated academy: links are printed when it is ready
	@$(BIN)/oracle demo

browser: ## Install Chromium for the browser tests, where that may be done
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing Chromium"; apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y chromium >/dev/null; \
	  else echo "The browser tests need Chromium: 'sudo apt-get install chromium', or your system's package of it."; fi

test: setup browser ## Run every test at its small size
	@$(BIN)/python -m pytest -n 2 --dist loadscope

test-full: setup browser ## Run the guarantees at full size (an hour or more)
	@ORACLE_FULL=1 $(BIN)/python -m pytest -n 2 --dist loadscope --timeout 7200

check: setup ## Lint, format, types, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: setup ## Measure against the budgets; writes bench/results.json
	@$(BIN)/python -m bench

format: setup ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: setup ## Resolve requirements.lock anew
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-strip-extras \
	  --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet --upgrade --output-file requirements.lock

clean: ## Remove what was installed and made here (the data in .oracle stays)
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
