.PHONY: help demo test slow chaos lint type bench races fmt clean
.DEFAULT_GOAL := help

BIN := .venv/bin

help: ## Show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: .venv/ready ## Train a language model on two nodes, kill a rank, watch it heal
	$(BIN)/headrace demo

test: .venv/ready lint type ## Lint, types, import contracts, and every test but the slow ones
	$(BIN)/python -m pytest -m "not slow and not chaos"

slow: .venv/ready ## Heavy tests, two files at a time, since they mostly wait: Slurm, demo, storms
	$(BIN)/python -m pytest -m "slow and not chaos" --timeout 1200 -n 2 --dist loadfile --durations 20

chaos: .venv/ready ## Kill a daemon 200 times under 300 runs, a Slurm run in 11 ways 10 times, twice; root; hours
	$(BIN)/python -m pytest tests/property --hypothesis-profile fresh --timeout 3600
	$(BIN)/python -m pytest -m chaos --timeout 3600
	$(BIN)/python -m tests.contract.recovery --times 10 --out slurm-recovery.md

lint: .venv/ready ## Style, import contracts, file sizes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python scripts/sizes

type: .venv/ready ## mypy, strict
	$(BIN)/mypy

bench: .venv/ready ## Benchmarks, each beside its peer or limit
	for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

races: .venv/ready ## Races against peers, each installed in an environment of its own
	for file in benchmarks/races/*.py; do $(BIN)/python $$file || exit 1; done

fmt: .venv/ready ## Format and sort imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what make made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/ready: pyproject.toml constraints.txt scripts/setup
	./scripts/setup
