.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: help setup demo test lint types unit docs definition bench clean

help: ## What can be made here
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# --- set-up: a virtual environment in the project, pinned by constraints.txt ----------------------------------------
$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed: make PYTHON=python3.12 …" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Setting up $(VENV) (once) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local,mcp,dev]'
	@touch $@

setup: $(VENV)/.ready ## Set up .venv with everything (a second run takes a second)

demo: setup ## Run 3,708 product reviews through the application on this machine
	@$(BIN)/python examples/demo.py

test: setup lint types unit ## Lint, types and every test

lint: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports --no-logo --no-cache && $(BIN)/cfn-lint template.yaml examples/template.yaml

types: setup
	@$(BIN)/mypy

unit: setup
	@$(BIN)/python -m pytest -n auto --dist loadfile -q

docs: setup ## Write docs/commands.md and the tables of docs/cost.md and docs/scale.md again
	@$(BIN)/python docs/make_commands.py
	@$(BIN)/python docs/make_cost.py
	@$(BIN)/python docs/make_scale.py

definition: setup ## Write infra/batch_processor.asl.json again
	@$(BIN)/python infra/make_definition.py

bench: setup ## Extraction, aggregation, one row's result and cold starts against the textbook
	@test -x build/awswrangler/bin/python || $(PYTHON) -m venv build/awswrangler
	@build/awswrangler/bin/python -m pip install --quiet --disable-pip-version-check awswrangler==3.17.1
	@$(BIN)/python benchmarks/extraction.py
	@AWSWRANGLER_PYTHON=build/awswrangler/bin/python $(BIN)/python benchmarks/aggregation.py
	@AWSWRANGLER_PYTHON=build/awswrangler/bin/python $(BIN)/python benchmarks/aggregation.py 1000000
	@$(BIN)/python benchmarks/write_result.py
	@$(BIN)/python benchmarks/cold_start.py
	@$(BIN)/python benchmarks/ten_million.py

clean: ## Remove what was built (the embedded stack's data stay)
	rm -rf .aws-sam build .mypy_cache .ruff_cache .pytest_cache .hypothesis

# --- packages of the functions: called by `sam build`, one target per function ---------------------------------------
# For AWS: wheels of the functions' runtime (python3.13, arm64), whatever Python runs here. BATCH_PROCESSOR_BUILD=local:
# wheels for the Python that runs here, which the embedded stack's functions run under.
BUILD_PYTHON ?= $(if $(wildcard $(BIN)/python),$(abspath $(BIN)/python),$(PYTHON))
ifeq ($(BATCH_PROCESSOR_BUILD),local)
WHEELS :=
else
WHEELS := --python-version 3.13 --implementation cp --only-binary=:all: \
	--platform manylinux2014_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux_2_28_aarch64
endif
PIP_TARGET = $(BUILD_PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
	-c constraints.txt $(WHEELS) --target "$(ARTIFACTS_DIR)"

# A handler, everything of service/ but the console, and the function's own dependency group of pyproject.toml.
define package
	mkdir -p "$(ARTIFACTS_DIR)/handlers"
	cp handlers/__init__.py handlers/$(1).py "$(ARTIFACTS_DIR)/handlers/"
	cp -r service "$(ARTIFACTS_DIR)/"
	rm -rf "$(ARTIFACTS_DIR)/service/console"
	packages="$$($(BUILD_PYTHON) infra/requirements.py $(1))"; test -z "$$packages" || $(PIP_TARGET) $$packages
	rm -rf "$(ARTIFACTS_DIR)"/bin "$(ARTIFACTS_DIR)"/*/tests
	find "$(ARTIFACTS_DIR)" -name __pycache__ -prune -exec rm -rf {} +
endef

build-PrepareBatchFunction:
	$(call package,prepare_batch)

build-InputMapperFunction:
	$(call package,transform_input)

build-OutputWriterFunction:
	$(call package,write_result)

build-ResultAggregatorFunction:
	$(call package,aggregate_results)

build-RegistrarFunction:
	$(call package,register_itself)

build-NotifierFunction:
	$(call package,notify)

build-StarterFunction:
	$(call package,start)

build-AgentToolsFunction:
	$(call package,agent_tools)
