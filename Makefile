# `make` lists the targets. CI and people call the same ones.
.DEFAULT_GOAL := help
.PHONY: help run test soak check bench clean
unexport PYTHONPATH PYTHONHOME

ARGS ?=
PYTHON := .venv/bin/python
INSTALL := sh deploy/local/install.sh

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' Makefile

run: ## install what is missing and start the whole pipeline on this machine
	@$(INSTALL) run
	@exec .venv/bin/alerts up --with-parent

test: ## run the tests; make test ARGS="-k word" runs some of them
	@$(INSTALL) test
	@exec $(PYTHON) -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

soak: ## run the fault tests in their full sizes
	@$(INSTALL) test
	@ALERTS_SOAK=1 exec $(PYTHON) -m pytest tests/faults --durations=0 $(ARGS)

check: ## lint, formatting and types
	@$(INSTALL) test
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

bench: ## run the measurements in tests/bench
	@$(INSTALL) test
	@for script in tests/bench/bench_*.py; do echo "== $$script"; PYTHONPATH=. $(PYTHON) "$$script" $(ARGS) || exit 1; done

clean: ## remove the environment, the caches and all local data
	@if [ -e .local/lock ] && ! flock -n .local/lock true; then echo "stop the running pipeline first"; exit 1; fi
	@rm -rf .venv .local build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
