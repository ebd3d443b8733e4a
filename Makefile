PYTHON ?= python3
BIN := .venv/bin

# Compiled files are kept, whatever the environment says: without them every test process compiles every test again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run unit test endurance chaos missed backfill outage fuzz check audit bench schemas screenshot messages lock clean setup setup-run setup-azurite setup-tests setup-peer

help: ## list what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

run: setup-run ## run the app on this machine, for you to work with; KEEP=1 leaves events on their queue, LOG=1 shows the log
	@$(BIN)/python -m local_stack $(if $(ONCE),--once) $(if $(KEEP),--keep) $(if $(LOG),--log) \
		$(if $(AUTH),--auth $(AUTH)) $(if $(QUEUE),--queue $(QUEUE))

unit: setup ## run the unit tests, in seconds; ARGS="-k name" runs a part
	@$(BIN)/python -m pytest -m "not e2e" $(ARGS)

test: setup-tests ## run the unit and end-to-end tests; ARGS="-k name" runs a part, ARGS=--cov measures coverage
	@$(BIN)/python -m pytest $(ARGS)

endurance: setup-azurite ## run chaos and outage over both kinds of queue, missed, backfill and fuzz; small ones
	@for queue in storage servicebus; do \
		$(BIN)/python -m endurance.chaos --queue $$queue || exit 1; \
		$(BIN)/python -m endurance.outage -n 100 --hour 0.5 --queue $$queue || exit 1; \
	done
	@$(BIN)/python -m endurance.missed -n 200
	@$(BIN)/python -m endurance.backfill -n 300
	@$(BIN)/python -m endurance.fuzzing -n 30000

chaos: setup-azurite ## send N=500 referrals through faults, kills and restarts, and lose none; QUEUE=servicebus
	@$(BIN)/python -m endurance.chaos $(if $(N),-n $(N)) $(if $(QUEUE),--queue $(QUEUE))

missed: setup-azurite ## drop one in twenty of the notifications of N=500 referrals, with faults and kills, and miss no change
	@$(BIN)/python -m endurance.missed $(if $(N),-n $(N))

backfill: setup-azurite ## load N=1000 referrals by a backfill whose workers are killed in the middle of pages
	@$(BIN)/python -m endurance.backfill $(if $(N),-n $(N))

outage: setup-azurite ## take Partner Center down for two days, an hour a second; QUEUE=servicebus; PLOT=docs/outage.svg draws it
	@$(BIN)/python -m endurance.outage $(if $(N),-n $(N)) $(if $(QUEUE),--queue $(QUEUE)) $(if $(PLOT),--plot $(PLOT))

fuzz: setup ## read N=1000000 hostile inputs; TARGET=answers reads one kind
	@$(BIN)/python -m endurance.fuzzing $(if $(N),-n $(N)) $(if $(TARGET),--target $(TARGET))

check: setup ## lint, check formatting, types, spelling, workflows and scripts
	@$(BIN)/ruff check && $(BIN)/ruff format --check -q && $(BIN)/mypy
	@$(BIN)/codespell
	@PATH="$(CURDIR)/$(BIN):$$PATH" zizmor --offline --no-progress -q .github
	@$(BIN)/check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema -q --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(BIN)/shellcheck infra/federated-credential.sh .ci/run

bench: setup-peer ## print what a referral costs, beside other programs
	@$(BIN)/python -m benchmarks

schemas: setup ## write the JSON Schemas, OpenAPI and AsyncAPI anew
	@$(BIN)/python -m schemas.generate

screenshot: setup-azurite ## take docs/page.png, a picture of the local stack's page; needs Chromium
	@$(BIN)/python -m local_stack.demo.browser

messages: ## print every message for people, to be read in one go
	@$(PYTHON) scripts/messages.py

LOCK = $(BIN)/uv pip compile -q -U --generate-hashes --no-strip-extras --universal --no-annotate --custom-compile-command "make lock"

lock: setup ## pin the newest versions that pyproject.toml allows, with their hashes
	@$(LOCK) --python-version 3.11 pyproject.toml -o requirements.txt
	@$(LOCK) --python-version 3.11 pyproject.toml --extra cli --group run -c requirements.txt -o local_stack/requirements.txt
	@$(LOCK) --python-version 3.11 pyproject.toml --extra cli --group run --group dev -c local_stack/requirements.txt -o requirements-dev.txt
	@$(LOCK) --python-version 3.13 --no-deps --group worker -o local_stack/requirements-worker.txt
	@$(LOCK) --python-version 3.11 --group node -o local_stack/requirements-node.txt
	@$(LOCK) --python-version 3.11 --no-deps --group peer -o benchmarks/requirements-peer.txt

audit: setup ## look for known vulnerabilities in what is installed here and in what is deployed
	@$(BIN)/pip-audit --require-hashes --disable-pip -r requirements.txt
	@$(BIN)/pip-audit --require-hashes --disable-pip -r requirements-dev.txt

clean: ## remove everything that was installed or written here
	@rm -rf .venv .local .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache

setup: ## install everything for linters and unit tests, and the command .venv/bin/referral-fn
	@$(PYTHON) scripts/bootstrap.py

setup-run:
	@$(PYTHON) scripts/bootstrap.py --run

setup-azurite:
	@$(PYTHON) scripts/bootstrap.py --azurite

setup-peer:
	@$(PYTHON) scripts/bootstrap.py --peer

setup-tests:
	@$(PYTHON) scripts/bootstrap.py --azurite --tests
