# Every target sets up what it needs first; nothing has to be installed by hand but Python 3.11+, make and git.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 2

.PHONY: help setup lock demo demo-stop devnet serve test check bench format clean

help: ## show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

$(STAMP): requirements.lock pyproject.toml scripts/setup.sh
	@bash scripts/setup.sh $(VENV)
	@touch $@

setup: $(STAMP) ## create .venv from requirements.lock (hashes checked)

demo: $(STAMP) ## local chains + service + a trading bot; ONCE=1 exits after the bot, DETACH=1 leaves it in the background
	@$(BIN)/python -m scripts.demo $(if $(ONCE),--once) $(if $(DETACH),--detach)

demo-stop: $(STAMP) ## stop a detached demo
	@$(BIN)/python -m scripts.demo --stop

devnet: $(STAMP) ## only the local Ethereum and Polygon, in the foreground (ARGS="--block-time 2 --flow-rate 2")
	@$(BIN)/python -m scripts.devnet up $(ARGS)

serve: $(STAMP) ## run the service with the settings in the environment or cambist.toml
	@$(BIN)/cambist serve $(ARGS)

check: $(STAMP) ## fast loop: format, lint, types, layers, own AST rules, unit tests
	@bash scripts/check.sh $(BIN)

test: $(STAMP) ## everything: check, then all tests against local chains, SQLite and PostgreSQL
	@bash scripts/test.sh $(BIN) $(JOBS)

bench: $(STAMP) ## all benchmarks with their bars in one table; ARGS=balances for one, ARGS="crash --trials 1000 --seed 1"
	@$(BIN)/python -m scripts.bench $(or $(ARGS),all)

format: $(STAMP) ## format and fix what ruff can fix
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lock: ## write requirements.lock anew (needs uv)
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header -o requirements.lock

clean: ## remove the virtual environment, caches and the demo's data
	rm -rf $(VENV) .cambist .mypy_cache .ruff_cache .hypothesis build *.egg-info
