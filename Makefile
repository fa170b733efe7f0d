# The whole developer interface. CI calls the same targets; each makes the environment it needs.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.SUFFIXES:

BIN := .venv/bin
VAR := var
ARGS ?=
export PYTHON
# A third of a test's time is waiting for other processes.
WORKERS ?= $$(( $$(getconf _NPROCESSORS_ONLN) + 1 ))
# The environment is ours: without bytecode each process would compile what it imports again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help: ## List these targets
	@echo "make <target> [ARGS='...'] [PYTHON=/path/to/python3.11]"
	@awk -F ':.*## ' '/^[a-z0-9_]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: ## Make .venv with all that a developer needs
	@sh scripts/setup.sh dev
	@echo "next: make test, make demo, or $(BIN)/foreshock --help"

.PHONY: demo
demo: ## Watch the whole loop turn, about two minutes (ARGS='--keep DIR --json')
	@sh scripts/setup.sh demo
	@$(BIN)/foreshock demo $(ARGS)

.PHONY: test
test: ## Run every test (ARGS='tests/test_x.py -k y'); FORESHOCK_REQUIRE=all turns skips into failures
	@sh scripts/setup.sh dev
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

.PHONY: kill_test kill-test
kill_test: ## Kill, cut and freeze agent, ingest and brokers 20 times a test (ARGS='--kills 50 --seed 7')
	@sh scripts/setup.sh dev
	@$(BIN)/python -m pytest -q tests/faults --kills 20 $(ARGS)
kill-test: kill_test

.PHONY: faults
faults: ## The whole fault laboratory, half an hour and more (ARGS='--kills 50 --flips 99 --seed 7 --client paho')
	@sh scripts/setup.sh dev
	@$(BIN)/python -m pytest -n 2 --dist load tests/faults --kills 300 --cuts 1000 --flips 1000 $(ARGS)

.PHONY: lint
lint: ## Check style, types and layers
	@sh scripts/setup.sh dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: ## Format the code and repair what can be repaired
	@sh scripts/setup.sh dev
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

BENCHMARKS := $(patsubst benchmarks/%.py,bench-%,$(shell grep -l __main__ $$(grep -l -e '"--quick"' benchmarks/*.py)))

.PHONY: bench bench_setup $(BENCHMARKS)
bench: ARGS = --quick
bench: $(BENCHMARKS) ## Run every benchmark, quickly (ARGS='' for the full length, --jobs 2 to see whether they run)
bench_setup:
	@sh scripts/setup.sh dev
$(BENCHMARKS): bench-%: bench_setup
	@echo "==> python -m benchmarks.$* $(ARGS)"
	@$(BIN)/python -m benchmarks.$* $(ARGS)

.PHONY: arm64
arm64: ## Show that a model decides on arm64 as on x86_64, under qemu-user (ARGS=--json); minutes
	@sh scripts/setup.sh dev
	@$(BIN)/python scripts/arm64.py $(ARGS)

.PHONY: gateway_test gateway-test
gateway_test: ## Boot a Debian gateway: the unit's sandbox, reload and watchdog at work (as root); minutes
	@sh scripts/setup.sh dev
	@$(BIN)/python scripts/gateway.py $(ARGS)
gateway-test: gateway_test

.PHONY: build
build: ## Build the wheel, and the image where a Docker engine answers
	@sh scripts/setup.sh dev
	@rm -rf dist
	@$(BIN)/python -m hatchling build -t wheel
	@if docker info >/dev/null 2>&1; then \
	  docker build --file deploy/Dockerfile --tag foreshock:dev . ; \
	else echo "no Docker engine answers here: the image deploy/Dockerfile was not built"; fi

.PHONY: run
run: ## Serve /predict on the current champion (ARGS='--port 8080')
	@sh scripts/setup.sh demo
	@[ -e $(VAR)/tracking ] || $(MAKE) run_pipeline ARGS=
	@$(BIN)/foreshock fleet api --model models:/foreshock@champion --tracking $(VAR)/tracking $(ARGS)

.PHONY: run_pipeline
run_pipeline: ## Retrain once, from recorded history to the champion, in var/
	@sh scripts/setup.sh demo
	@[ -e $(VAR)/history ] || $(BIN)/foreshock plant record --out $(VAR)/history
	@$(BIN)/foreshock trainer ingest --from $(VAR)/history --lake $(VAR)/lake
	@$(BIN)/foreshock trainer retrain --lake $(VAR)/lake --tracking $(VAR)/tracking --promote $(ARGS)

.PHONY: picture
picture: ## Draw the README's picture: one machine's life, judged by the champion of make run_pipeline
	@sh scripts/setup.sh demo
	@[ -e $(VAR)/tracking ] || $(MAKE) run_pipeline ARGS=
	@$(BIN)/foreshock picture --model models:/foreshock@champion --tracking $(VAR)/tracking \
	  --machine pump-04 --seed 3 --out docs/life.png $(ARGS)

.PHONY: lock
lock: ## Write requirements/*.txt again from pyproject.toml (ARGS=--upgrade)
	@sh scripts/setup.sh dev
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/lock.py $(ARGS)

.PHONY: clean
clean: ## Remove what the targets made, .venv and var/ included
	rm -rf .venv dist $(VAR) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
