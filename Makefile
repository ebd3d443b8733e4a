PYTHON ?= python3
BIN := .venv/bin

.PHONY: help run test chaos outage check bench schemas screenshot lock clean setup

help: ## list what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

run: setup ## run the app on this machine and send a referral through it; ONCE=1 ends by itself, AUTH=app-user, QUEUE=servicebus
	@$(BIN)/python -m local_stack $(if $(ONCE),--once) $(if $(AUTH),--auth $(AUTH)) $(if $(QUEUE),--queue $(QUEUE))

test: setup ## run the whole test suite; ARGS="-k name" runs a part
	@$(PYTHON) scripts/bootstrap.py --tests
	@$(BIN)/python -m pytest $(ARGS)

chaos: setup ## lose nothing, tried: N=100000 referrals amid faults, kills and restarts; QUEUE=servicebus
	@$(BIN)/python -m endurance.chaos $(if $(N),-n $(N)) $(if $(QUEUE),--queue $(QUEUE))

outage: setup ## Partner Center is down for two days, an hour a second; PLOT=docs/outage.svg draws it
	@$(BIN)/python -m endurance.outage $(if $(N),-n $(N)) $(if $(PLOT),--plot $(PLOT))

check: setup ## lint, check the formatting, check the types
	@$(BIN)/ruff check && $(BIN)/ruff format --check -q && $(BIN)/mypy

bench: setup ## print what the code costs, beside its floor
	@$(BIN)/python -m benchmarks

schemas: setup ## write the JSON Schemas, OpenAPI and AsyncAPI anew
	@$(BIN)/python -m schemas.generate

screenshot: setup ## take docs/page.png, a picture of the local stack's page; needs Chromium
	@$(BIN)/python -m local_stack.demo.browser

lock: setup ## pin the newest versions that pyproject.toml allows
	@$(BIN)/uv pip compile -q -U --universal --python-version 3.11 --no-annotate --custom-compile-command "make lock" \
		pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile -q -U --universal --python-version 3.11 --no-annotate --custom-compile-command "make lock" \
		pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt

clean: ## remove everything that was installed or written here
	@rm -rf .venv .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache

setup:
	@$(PYTHON) scripts/bootstrap.py
