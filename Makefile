# Every task of this project; people and CI run the same targets. `make help` lists them.

# The first Python in range; asked for its own path, so that a shim (pyenv) costs its time once.
# Looks from / as well, where no .python-version asks for one that is not installed.
ifndef PYTHON
PYTHON := $(shell for folder in . /; do cd $$folder; for name in python3 python3.13 python3.12 python3.11 python; do \
	$$name -c 'import sys; (3, 11) <= sys.version_info[:2] <= (3, 13) or sys.exit(1); print(sys.executable)' 2>/dev/null && exit; \
	done; done)
endif
PORT ?= 5000
# Where `make data` takes the training file from (nothing: OpenML) and where it puts it.
DATA_URL ?=
DATA_SHA256 ?=
DATA_FILE ?= data/house_prices.csv
# Options for pytest: make test PYTEST="-k lock -x"
PYTEST ?=
# Cases for each operation: make schemathesis EXAMPLES=5000
EXAMPLES ?= 1000
# What to mutate, all if nothing is named: make mutate MUTATE=views
MUTATE ?=


export PORT DATA_URL DATA_SHA256 DATA_FILE
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

bin := .venv/bin
bench := build/benchmarks/venv/bin
set_up := "$(or $(PYTHON),python3)" scripts/environment.py
editable := --editable packages/model_kit --editable packages/regression_model

# pyenv's interpreters, which its shims show one at a time.
pyenv_path := $(shell for folder in "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.1[123].*/bin; do \
	[ -x "$$folder/python" ] && printf ':%s' "$$folder"; done)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run dev test test-all lint format typecheck imports tracked schemathesis mutate data train compare publish release \
	install lock clean tools tools-dev serving bench bench-quick bench-memory bench-batch bench-explain screenshot instructions instructions-record \
	tools-bench served image run-image smoke-image test-image \
	plan model wheels test-wheel deploy deploy-container promote verify rollback configure-app rehearse-deploy rehearse-pipeline

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@printf '\nvariables: PORT=%s (run, dev)  DATA=path.csv (train, plan)  DATA_URL=url-or-path (data)  PYTHON=%s  PYTEST="-k name" (test)\n' \
		'$(PORT)' '$(or $(PYTHON),none from 3.11 to 3.13 was found)'
	@printf 'The package index: docs/publishing.md. Without settings, one on this machine is started and stopped.\n'
	@printf 'Heroku: APP=app  FROM=app (promote)  RELEASE=v12 (rollback)  LIMIT=seconds  IMAGE=name; docs/deploy.md.\n'

run: tools serving ## Serve the model on PORT; the first time set up, and train on the sample if there is no model
	@exec $(bin)/python scripts/run.py

dev: tools-dev ## Serve the sources on PORT, reloading when they change
	@exec $(bin)/python scripts/run.py --development

# With options for pytest somebody looks at something else.
test: lint typecheck imports tracked $(if $(PYTEST),,instructions) ## Check style, types and what a prediction costs, run all tests with coverage
	@$(bin)/python -m pytest --cov --cov-report=term-missing:skip-covered $(PYTEST)

test-all: tools-dev ## Run the tests on every Python from 3.11 to 3.13 that is here
	@PATH="$$PATH$(pyenv_path)" $(bin)/python -m tox run

schemathesis: tools-dev ## Hold the service to its OpenAPI document with EXAMPLES=1000 cases for each operation
	@SCHEMATHESIS_EXAMPLES=$(EXAMPLES) $(bin)/python -m pytest tests/test_service_schemathesis.py -rA

mutate: tools-dev ## Change the code in small ways and see whether the tests notice: MUTATE="model_kit views"
	@$(bin)/python scripts/mutate.py $(MUTATE)

lint: tools-dev ## Check style, the Dockerfile and the shell scripts
	@$(bin)/python -m ruff check .
	@$(bin)/python -m ruff format --check .
	@$(bin)/hadolint Dockerfile
	@if command -v shellcheck >/dev/null; then shellcheck $$(git -c safe.directory='$(CURDIR)' grep -l --untracked -E '^#!.*[/ ](ba)?sh$$' ':!*.py'); \
	else echo 'lint: shellcheck is not installed; the shell scripts are NOT checked (Debian: apt-get install shellcheck)'; fi

format: tools-dev ## Put style right where a machine can
	@$(bin)/python -m ruff check --fix .
	@$(bin)/python -m ruff format .

typecheck: tools-dev ## Check types, strictly
	@# Two runs: packages/ml_api/tests and tests would both be called tests.
	@$(bin)/python -m mypy packages
	@$(bin)/python -m mypy scripts tests benchmarks conftest.py

imports: tools-dev # which package may import which
	@PYTHONPATH=packages/ml_api $(bin)/lint-imports --no-cache

tracked: tools-dev # no binaries, no data
	@$(bin)/python scripts/check_tracked.py

data: tools ## Load the real training file into data/, from OpenML or from DATA_URL=url-or-path
	@exec $(bin)/regression-model data $${DATA_URL:+--from "$$DATA_URL"} $${DATA_SHA256:+--sha256 "$$DATA_SHA256"} -o "$$DATA_FILE"

train: tools ## Train on DATA=path.csv, or on the synthetic sample
	@exec $(bin)/regression-model train $(if $(DATA),--data "$(DATA)",--sample)

compare: tools ## Judge what changes: OLD=latest on the package index, NEW=the bundle here; COMPARE="--html report.html"
	@exec $(bin)/python scripts/compare.py $(if $(OLD),--old "$(OLD)") $(if $(NEW),--new "$(NEW)") $(COMPARE)

publish: tools ## Build the wheels and publish them as X.Y.Z+digest on the package index
	@exec $(bin)/python scripts/publish.py

release: tools ## Publish the wheels of `make wheels`; without them, build and publish as X.Y.Z, once
	@exec $(bin)/python scripts/publish.py --release

plan: tools ## Decide: train, or use the released model again; fail if it changed without a new version
	@exec $(bin)/python scripts/plan.py --data "$(or $(DATA),$(DATA_FILE))" $(if $(RETRAIN),--retrain)

model: tools ## Train on DATA=path.csv (default: DATA_FILE) if the plan says so
	@decision=$$($(bin)/python scripts/plan.py --show) && \
	if [ "$$decision" = train ]; then exec $(bin)/regression-model train --data "$(or $(DATA),$(DATA_FILE))"; fi

wheels: tools ## Make the wheels of a release in build/wheels, once: fetched if released already, else built
	@exec $(bin)/python scripts/wheels.py

test-wheel: tools serving ## Install the very wheels of build/wheels by hash, serve them, ask them everything
	@exec $(bin)/python scripts/check_wheels.py

deploy: tools ## Push the tested wheels' release commit to Heroku's APP, verify it, go back if it is not right
	@exec $(bin)/python scripts/deploy.py git

deploy-container: tools ## Release the tested IMAGE on Heroku's APP, verify it, go back if it is not right
	@exec $(bin)/python scripts/deploy.py container

promote: tools ## Release on APP what FROM runs, verify it, go back if it is not right
	@exec $(bin)/python scripts/deploy.py promote

verify: tools ## Hold what APP serves to the tested wheels
	@exec $(bin)/python scripts/deploy.py verify

rollback: tools ## Release on APP what it ran before, or RELEASE=v12
	@exec $(bin)/python scripts/deploy.py rollback

configure-app: tools ## Tell Heroku's APP where its pip finds our wheels, from PACKAGE_INDEX_URL and its like
	@exec $(bin)/python scripts/deploy.py configure

rehearse-deploy: tools-dev ## Deploy, break, go back and promote against stand-ins, with the real service
	@exec $(bin)/python tests/standins/rehearse.py $(if $(DATA),--data "$(DATA)")

rehearse-pipeline: tools-dev ## Run CircleCI's whole config against stand-ins and a real Docker engine: DATA=path.csv (an hour)
	@exec $(bin)/python scripts/engine.py $(bin)/python tests/standins/rehearse_pipeline.py $(if $(DATA),--data "$(DATA)") $(REHEARSE)

install: tools serving ## Install what was published last into build/serving
	@exec $(bin)/python scripts/install_models.py

bench: served ## Compare with other servers on this machine (10 minutes): DATA=path.csv BENCH_DATA=path.csv
	@$(bench)/python benchmarks/bench.py

bench-quick: served ## The same in one short round, to look at
	@$(bench)/python benchmarks/bench.py --quick --command "make bench-quick"

bench-memory: served ## Memory after REQUESTS=200000, every hundredth of 10,000 rows
	@$(bench)/python benchmarks/memory.py

bench-batch: served ## Price a CSV of ROWS=1000000
	@$(bench)/python benchmarks/batch.py

bench-explain: tools-dev ## How close explanations are, and how long they take: BENCH_DATA=path.csv
	@PYTHONPATH=packages/ml_api $(bin)/python benchmarks/explain.py

instructions: tools-dev ## Count a prediction's instructions and hold them to the recorded figures
	@$(bin)/python benchmarks/instructions.py

screenshot: tools-dev ## Take the pictures of the page in docs/images, with the synthetic sample; needs chromium
	@exec $(bin)/python scripts/screenshot.py

instructions-record: tools-dev ## Record the figures anew
	@$(bin)/python benchmarks/instructions.py --record

image: tools ## Build the container image IMAGE=ml-api of what was published last
	@exec $(bin)/python scripts/image.py build

run-image: tools ## Serve the image on PORT, with the model in it or the bundle in MODEL_DIR=folder
	@exec $(bin)/python scripts/image.py run

smoke-image: tools ## Start the image and hold it to what was published: version, artefact, commit, golden row
	@exec $(bin)/python scripts/smoke_image.py

test-image: tools-dev ## Build and try the image with a real Docker engine, set up if there is none (as root, minutes)
	@TEST_IMAGE=1 $(bin)/python scripts/engine.py $(bin)/python -m pytest tests/image $(PYTEST)

lock: ## Write the locks anew, with the newest versions
	@# An incomplete lock must not prevent making a complete one.
	@$(set_up) .venv --lock requirements/dev.txt $(editable) --allow-incomplete
	@$(bin)/python scripts/lock.py

clean: ## Delete what is made here: environments, wheels, caches; not the trained bundle, not data
	@rm -rf .venv build dist .tox .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage .coverage.* htmlcov

# Environments. Each is left alone if it is what its lock says.
tools:
	@$(set_up) .venv --lock requirements/train.txt $(editable)

tools-dev:
	@$(set_up) .venv --lock requirements/dev.txt $(editable)

# Without a pip of its own and without the packages' tests: what serves installs nothing and tests nothing.
serving: tools
	@$(set_up) build/serving --lock requirements.txt --pip $(bin)/python --without-tests

tools-bench:
	@$(set_up) build/benchmarks/venv --lock requirements/bench.txt $(editable)

# What was trained last, installed as it is for production.
served: tools tools-bench serving
	@$(bin)/python scripts/publish.py
	@$(bin)/python scripts/install_models.py
