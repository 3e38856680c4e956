# The targets set up everything that a fresh machine needs: Python 3.11+ and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test test-all coverage docs docs-versions clients release bench profile bench-memory chaos receivers mutants fuzz lint format lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.run ## run the whole product on http://127.0.0.1:8080
	@exec $(BIN)/signal-broker run

PYTEST := $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder

test: $(VENV)/.test ## run the tests but for the slow ones, in a few minutes (starts its own RabbitMQ and PostgreSQL)
	@$(PYTEST) --numprocesses 2 -m "not slow" $(ARGS)

test-all: $(VENV)/.test ## run all tests, as CI does, in most of an hour
	@$(PYTEST) --numprocesses 2 $(ARGS)

coverage: $(VENV)/.test ## measure how much of the code the suite runs in its own processes (not in those that it starts)
	@$(PYTEST) --numprocesses 2 --hypothesis-profile ci \
	  --cov --cov-report term tests/unit tests/conformance tests/integration $(ARGS)

docs: $(VENV)/.test ## build the documentation's site in build/site (ARGS="--source-url https://host/owner/repository")
	@$(BIN)/python -m docs.site.build build/site $(ARGS)

docs-versions: $(VENV)/.test ## build a site of all tagged versions in build/versions, each by its own make docs
	@$(BIN)/python -m docs.site.versions build/versions

clients: $(VENV)/.test ## build the Python and TypeScript clients in build/clients, generate others, and throw a signal with each
	@$(BIN)/python -m tests.compat.clients

release: $(VENV)/.test ## build what a release consists of in build/release (IMAGE=no: without the image)
	@.ci/release

bench: $(VENV)/.bench ## run the benchmarks, next to their baselines (ROWS=accepting,delivering ARGS="--seconds 10"; docs/performance.md)
	@$(BIN)/python -m tests.bench $(if $(ROWS),--rows $(ROWS)) $(ARGS)

profile: $(VENV)/.bench ## show where the CPU time of a gateway, a recorder and a deliverer goes (ARGS="deliverer --seconds 20")
	@$(BIN)/python -m tests.bench.profiling $(ARGS)

bench-memory: $(VENV)/.test ## send 10,000 signals of a megabyte through every role and print its peak memory (ARGS="--signals 300")
	@$(BIN)/python -m tests.bench.memory $(ARGS)

chaos: $(VENV)/.test ## break processes, RabbitMQ, PostgreSQL and networks under load, and compare the books (ARGS="--faults 40 --seed 7")
	@$(BIN)/python -m tests.chaos $(ARGS)

receivers: $(VENV)/.test ## deliver 10,000 webhooks to each of some real servers that are reloaded and restarted (ARGS="--only nginx")
	@$(BIN)/python -m tests.compat.servers $(ARGS)

mutants: $(VENV)/.test ## sample small changes of the domain and list those that no unit test notices (ARGS="--seed 7")
	@$(BIN)/python -m tests.mutants $(ARGS)

fuzz: $(VENV)/.test ## try what others may send, for MINUTES (10): readers guided by coverage, raw HTTP, the API in any order
	@$(BIN)/python -m tests.fuzz $(or $(MINUTES),10) $(ARGS)

lint: $(VENV)/.test ## ruff, mypy strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.test ## format the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lock: $(VENV)/.test ## pin the versions again
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	  --python-version 3.11 --group build --extra otel pyproject.toml -o deploy/requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	  --python-version 3.11 --group build --extra embedded -c deploy/requirements.lock pyproject.toml -o deploy/requirements-embedded.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	  --python-version 3.11 --group build --group test --group docs --group release --group lint --extra embedded --extra otel-grpc -c deploy/requirements-embedded.lock pyproject.toml -o deploy/requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	  --python-version 3.11 --group bench -c deploy/requirements-dev.lock -o deploy/requirements-bench.lock

clean: ## remove the virtual environment and the caches
	rm -rf $(VENV) .fuzz build .coverage* *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "signal-broker needs Python 3.11 or later; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: deploy/requirements-embedded.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing what signal-broker needs into $(VENV), which takes half a minute or so ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/requirements-embedded.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.bench: deploy/requirements-bench.lock $(VENV)/.test
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/requirements-bench.lock
	@touch $@

$(VENV)/.test: deploy/requirements-dev.lock $(VENV)/.run
	@echo "installing what its tests need ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/requirements-dev.lock
	@touch $@
