# Every task of this project; people and CI run the same targets. `make help` lists them.

# The first Python in range; asked for its own path, so that a shim (pyenv) costs its time once.
# Looks from / as well, where no .python-version asks for one that is not installed.
ifndef PYTHON
PYTHON := $(shell for folder in . /; do cd $$folder; for name in python3 python3.13 python3.12 python3.11 python; do \
	$$name -E -c 'import sys; (3, 11) <= sys.version_info[:2] <= (3, 13) or sys.exit(1); print(sys.executable)' 2>/dev/null && exit; \
	done; done)
endif
PORT ?= 5000
# The model that is meant, by the name of its entry point: make train MODEL=diamonds. Without it, every model under packages/.
MODEL ?=
# Where `make data` takes the training file of MODEL from (nothing: OpenML); it puts it into data/<model>.csv.
DATA_URL ?=
DATA_SHA256 ?=
# What `make new-model` makes, beside DATA and MODEL's name: NAME=diamonds TARGET=price, and if wanted UNIT=USD SUBJECT=diamond
NAME ?=
TARGET ?=
UNIT ?=
SUBJECT ?= record
# How DATA writes numbers, for train and new-model: DECIMAL=, THOUSANDS=.
DECIMAL ?=
THOUSANDS ?=
# Options for pytest: make test PYTEST="-k lock -x"
PYTEST ?=
# Cases for each operation: make schemathesis EXAMPLES=5000
EXAMPLES ?= 1000
# Requests of the soak: make soak COUNT=20000
COUNT ?= 200000
# Whose clients and engines to test with, all if nothing is named: make doors DOORS="mlflow spark"
DOORS ?=
# What to mutate, all if nothing is named: make mutate MUTATE=views
MUTATE ?=

# Text that a user gives is taken as it is, in recipes and by the programs that they start: make would expand a $ in it.
given := PORT MODEL DATA DATA_URL BENCH_DATA NAME TARGET UNIT SUBJECT OLD NEW IMAGE APP FROM MODEL_DIR REPOSITORY TAG OVERLAY RELEASE NOTEBOOK_DIR OUTCOMES HOLDOUT IF_DRIFTED
$(foreach name,$(given),$(if $(filter command environment,$(origin $(name))),$(eval override export $(name) := $$(value $(name)))))
export PORT DATA_URL DATA_SHA256
# What other programs left for their own Python: modules, options, warnings as errors.
unexport VIRTUAL_ENV $(filter-out PYTHON PYTHONDONTWRITEBYTECODE PYTHONUNBUFFERED,$(filter PYTHON%,$(.VARIABLES)))

bin := .venv/bin
bench := build/benchmarks/venv/bin
# The kit and every package that announces a model, found anew each time.
editable := --packages packages

# pyenv's interpreters, which its shims show one at a time.
pyenv_path := $(shell for folder in "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.1[123].*/bin; do \
	[ -x "$$folder/python" ] && printf ':%s' "$$folder"; done)

# A variable's text as one word of the shell, whatever characters it has.
quoted = '$(subst ','\'',$($(1)))'
# An option with a variable's text: $(call option,--data,DATA); nothing if the variable is empty.
option = $(if $($(2)),$(1) $(call quoted,$(2)))
number_format = $(if $(DECIMAL), $(call option,--decimal,DECIMAL))$(if $(THOUSANDS), $(call option,--thousands,THOUSANDS))

set_up = $(if $(PYTHON),$(call quoted,PYTHON),python3) scripts/environment.py
model = $(call option,--model,MODEL)

# Python 3.11 and 3.12 could not read the path of a checkout with other letters than ASCII.
ifneq ($(filter C POSIX,$(LC_ALL)),)
export LC_ALL := C.UTF-8
endif

# With -O in MAKEFLAGS, make would keep what `make run` prints until it ends.
ifneq ($(filter output-sync,$(.FEATURES)),)
MAKEFLAGS += --output-sync=none
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run dev test suite coverage test-all lint format typecheck imports tracked audit schemathesis mutate faults soak soak-streams doors migrate data new-model sample train retrain compare publish release \
	docs-commands site site-serve install lock clean tools tools-dev tools-kubernetes serving bench bench-quick bench-memory bench-batch bench-client bench-explain bench-log bench-shadow bench-streams screenshot instructions instructions-record \
	tools-bench served image run-image smoke-image push-image training-image test-image released release-notes deploy-kubernetes \
	notebook notebooks notebook-image run-notebook-image tools-notebook \
	plan model wheels held-back test-wheel deploy deploy-container promote verify rollback configure-app rehearse-deploy rehearse-pipeline \
	drill-kubernetes

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@printf '\nMODEL=name: the model that is meant, where several packages are under packages/. Without it, every one: run, publish, plan,\n'
	@printf '  wheels and compare leave out those without a bundle; train without DATA takes those that have a synthetic sample.\n'
	@printf 'variables: PORT=%s (run, dev)  DATA=path.csv (train, plan, new-model)  DECIMAL=, THOUSANDS=. (how DATA writes numbers)  DATA_URL=url-or-path (data)  PYTHON=%s  PYTEST="-k name" (test)\n' \
		'$(PORT)' '$(or $(PYTHON),none from 3.11 to 3.13 was found)'
	@printf 'The package index: docs/publishing.md. Without settings, one on this machine is started and stopped.\n'
	@printf 'Heroku: APP=app  FROM=app (promote)  RELEASE=v12 (rollback)  LIMIT=seconds  IMAGE=name; docs/deploy.md.\n'

run: tools serving ## Serve every model that has a bundle on PORT; the first time set up, and train on the sample if none has
	@exec $(bin)/python scripts/run.py $(model)

dev: tools-dev ## Serve the sources on PORT, reloading when they change
	@exec $(bin)/python scripts/run.py --development $(model)

# With options for pytest, only tests are run. What takes seconds comes first, and what takes minutes runs beside the
# tests, which wait for servers a quarter of the time.
test: tools-dev tools-kubernetes ## Check style, types and what a prediction costs, run all tests
	@$(MAKE) --no-print-directory --jobs 2 lint imports tracked
	@$(MAKE) --no-print-directory --jobs 2 suite typecheck $(if $(PYTEST),,instructions)

# Two files at a time: the machines of CI have two cores.
suite: tools-dev # the tests alone
	@$(bin)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=40 $(PYTEST)

# Apart, as it doubles the time of the tests. CircleCI counts too.
coverage: tools-dev tools-kubernetes ## Run all tests and count the lines and branches that they run: 95 % at least
	@$(bin)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=term-missing:skip-covered $(PYTEST)

test-all: tools-dev tools-kubernetes ## Run the tests on every Python from 3.11 to 3.13 that is here
	@PATH="$$PATH$(pyenv_path)" $(bin)/python -m tox run

schemathesis: tools-dev ## Hold the service to its OpenAPI document with EXAMPLES=1000 cases for each operation
	@SCHEMATHESIS_EXAMPLES=$(EXAMPLES) $(bin)/python -m pytest tests/test_service_schemathesis.py -rA

mutate: tools-dev ## Change the code in small ways and see whether the tests notice: MUTATE="model_kit views"
	@$(bin)/python scripts/mutate.py $(MUTATE)

lint: tools-dev ## Check style, the Dockerfiles, the workflows and the shell scripts
	@$(bin)/python -m ruff check .
	@$(bin)/python -m ruff format --check .
	@$(bin)/hadolint Dockerfile Dockerfile.notebook
	@$(bin)/zizmor --offline --quiet .github/workflows
	@if command -v actionlint >/dev/null; then actionlint; \
	else echo 'lint: actionlint is not installed; the workflows are checked by zizmor alone (https://github.com/rhysd/actionlint)'; fi
	@if command -v shellcheck >/dev/null; then shellcheck $$(git -c safe.directory=$(call quoted,CURDIR) grep -l --untracked -E '^#!.*[/ ](ba)?sh$$' ':!*.py'); \
	else echo 'lint: shellcheck is not installed; the shell scripts are NOT checked (Debian: apt-get install shellcheck)'; fi

format: tools-dev ## Put style right where a machine can
	@$(bin)/python -m ruff check --fix .
	@$(bin)/python -m ruff format .

typecheck: tools-dev ## Check types, strictly
	@$(bin)/python scripts/typecheck.py

imports: tools-dev # which package may import which
	@$(bin)/python scripts/imports.py

audit: tools-dev ## Look for known vulnerabilities in what the locks pin (needs the network), and for licences that are not allowed
	@$(bin)/python scripts/licences.py
	@$(bin)/python scripts/audit.py

tracked: tools-dev # no binaries, no data
	@$(bin)/python scripts/check_tracked.py

faults: tools-dev ## Kill workers and databases under load, and see that no answer is lost
	@LONG_FAULTS=1 $(bin)/python -m pytest tests/faults -rA $(PYTEST)

soak: tools-dev ## Send COUNT=200000 mixed requests while workers and the database are killed: SOAK="--seed 7 --json soak.json"
	@$(bin)/python tests/helpers/soak.py $(model) --count $(COUNT) $(SOAK)

doors: tools-dev ## Test with the clients and engines of others, each in an environment of its own: DOORS="mlflow spark"
	@$(bin)/python scripts/doors.py $(DOORS)

soak-streams: tools-dev ## Consume streams while consumers and brokers are killed, and look for every answer: SOAK="--rounds 100 --seed 7"
	@PYTHONPATH=tests/helpers $(bin)/python tests/helpers/soak_streams.py $(SOAK)

# With the environments that the pages on BentoML and MLflow come from.
docs-commands: site ## Follow the tutorial and the migrations command by command, and search the built site
	@$(set_up) build/doors/bentoml --lock requirements/doors/bentoml.txt
	@$(set_up) build/doors/mlflow --lock requirements/doors/mlflow.txt
	@DOCS_COMMANDS=1 $(bin)/python -m pytest tests/documentation -rA $(PYTEST)

# The pages are read by an environment of its own, the code by that of development.
site: tools-dev ## Build the documentation into build/site, strictly, and check every link; works without a network
	@$(set_up) build/site-tools --lock requirements/site.txt
	@build/site-tools/bin/python -m sphinx --quiet --fail-on-warning --keep-going \
		--conf-dir docs --doctree-dir build/site-doctrees . build/site
	@$(bin)/python scripts/check_site.py

site-serve: site ## Show the documentation on PORT
	@exec $(bin)/python -m http.server --bind 127.0.0.1 --directory build/site $(call quoted,PORT)

migrate: tools-dev ## Create or update the tables of the prediction log that PREDICTION_LOG names
	@cd packages/ml_api && exec $(CURDIR)/$(bin)/python -m ml_api.cli migrate

new-model: tools ## Write a model package from a CSV: NAME=diamonds DATA=diamonds.csv TARGET=price
	@: $(if $(NAME),,$(error NAME is not set: make new-model NAME=diamonds DATA=diamonds.csv TARGET=price))
	@: $(if $(DATA),,$(error DATA is not set: make new-model NAME=$(NAME) DATA=$(NAME).csv TARGET=price))
	@: $(if $(TARGET),,$(error TARGET is not set: make new-model NAME=$(NAME) DATA=$(DATA) TARGET=column))
	@$(bin)/python -m model_kit.cli.main new $(call quoted,NAME) --data $(call quoted,DATA) --target $(call quoted,TARGET) \
		--unit $(call quoted,UNIT) --subject $(call quoted,SUBJECT) --into packages$(number_format)
	@$(MAKE) --no-print-directory tools

data: tools ## Load training files into data/MODEL.csv, from OpenML or from DATA_URL=url-or-path
	@exec $(bin)/python scripts/load_data.py $(model)

sample: tools ## Write the synthetic sample of MODEL to DATA=path.csv
	@exec $(bin)/python -m model_kit.cli.main sample $(model) -o $(if $(DATA),$(call quoted,DATA),$(error DATA is not set: make sample MODEL=name DATA=path.csv))

train: tools ## Train MODEL on DATA=path.csv; without DATA on its synthetic sample, without MODEL every one that has one
	@exec $(bin)/python scripts/train_models.py $(model) $(call option,--data,DATA)$(number_format)

retrain: tools ## Retrain MODEL on DATA and OUTCOMES, judge it on HOLDOUT: IF_DRIFTED=report.json PUBLISH=1 RETRAIN_OPTIONS="--json"
	@exec $(bin)/python scripts/retrain.py $(model) $(call option,--data,DATA) $(call option,--outcomes,OUTCOMES) $(call option,--holdout,HOLDOUT) \
		$(call option,--if-drifted,IF_DRIFTED) $(if $(PUBLISH),--publish) $(RETRAIN_OPTIONS)$(number_format)

compare: tools ## Judge what changes: OLD=latest on the package index, NEW=the bundles here; COMPARE="--html report.html"
	@exec $(bin)/python scripts/compare.py $(model) $(call option,--old,OLD) $(call option,--new,NEW) $(if $(HOLD_BACK),--hold-back) $(COMPARE)

publish: tools ## Build the wheels and publish them as X.Y.Z+digest on the package index
	@exec $(bin)/python scripts/publish.py $(model)

release: tools ## Compare the wheels of `make wheels` with the newest release, and publish them; without them, build X.Y.Z
	@exec $(bin)/python scripts/publish.py --release $(model) $(if $(IGNORE_COMPARISON),--ignore-comparison)

released: tools ## Fetch the released wheels of this commit into build/wheels; fail if one is not released, and publish nothing
	@$(bin)/python scripts/plan.py
	@$(bin)/python scripts/wheels.py
	@exec $(bin)/python scripts/publish.py --released

release-notes: tools ## Write build/notes.md of the wheels of `make wheels`: TAG=v1.2.0, which must be ml_api's version
	@exec $(bin)/python scripts/release_notes.py $(call option,--tag,TAG)

plan: tools ## Decide for each model: train, or use the released one again; fail if it changed without a new version
	@exec $(bin)/python scripts/plan.py $(model) $(call option,--data,DATA) $(if $(RETRAIN),--retrain)

model: tools ## Train each model for which the plan says so, on the plan's data; HOLD_BACK=1: one that fails keeps its last release
	@exec $(bin)/python scripts/train_models.py --planned $(model) $(if $(HOLD_BACK),--hold-back)

wheels: tools ## Make the wheels of a release in build/wheels, once: fetched if released already, else built
	@exec $(bin)/python scripts/wheels.py $(model)

held-back: tools ## Tell which models HOLD_BACK=1 kept out of the wheels of `make wheels`; fail if any
	@exec $(bin)/python scripts/wheels.py --held-back

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

deploy-kubernetes: tools ## Release the pushed IMAGE with deploy/kubernetes/overlays/OVERLAY, verify it, go back if it is not right
	@exec $(bin)/python scripts/deploy_cluster.py

rehearse-deploy: tools-dev ## Deploy, break, go back and promote against stand-ins, with the real service
	@exec $(bin)/python tests/standins/rehearse.py $(call option,--data,DATA)

rehearse-pipeline: tools-dev tools-kubernetes ## Run the whole configs of CI against stand-ins and a real Docker engine: DATA=path.csv (an hour)
	@exec $(bin)/python scripts/engine.py $(bin)/python tests/standins/rehearse_pipeline.py $(call option,--data,DATA) $(REHEARSE)

drill-kubernetes: tools-dev tools-kubernetes ## Deploy, update, break, go back and scale by deploy/kubernetes under load: a stand-in cluster, the real service
	@exec $(bin)/python tests/standins/drill_kubernetes.py

install: tools serving ## Install what was published last into build/serving
	@exec $(bin)/python scripts/install_models.py

bench: served ## Compare with other servers on this machine (10 minutes): DATA=path.csv BENCH_DATA=path.csv
	@$(bench)/python benchmarks/bench.py $(model)

bench-quick: served ## The same in one short round, to look at
	@$(bench)/python benchmarks/bench.py --quick --command "make bench-quick" $(model)

bench-memory: served ## Memory after REQUESTS=200000, every hundredth of 10,000 rows
	@$(bench)/python benchmarks/memory.py $(model)

bench-batch: tools-bench ## Price ROWS=1000000 of CSV and of Parquet, beside pandas and scikit-learn: DATA=path.csv
	@$(bench)/python benchmarks/batch.py $(model)

bench-client: tools-dev ## Predict a DataFrame of ROWS=1000000 over HTTP, the client included: BENCH_DATA=path.csv
	@$(bin)/python benchmarks/client.py $(model)

bench-log: tools-dev ## What the prediction log costs: on against off, with SQLite and PostgreSQL
	@$(bin)/python benchmarks/prediction_log.py $(model)

bench-shadow: tools-dev ## What a shadow costs the callers: latency at half of the capacity, with it against without
	@$(bin)/python benchmarks/shadow.py $(model)

bench-streams: tools-dev ## Rows a second from a stream to another one, with NATS and Kafka's mock cluster
	@$(bin)/python benchmarks/streams.py $(model)

bench-explain: tools-dev ## How close explanations are, and how long they take: BENCH_DATA=path.csv
	@PYTHONPATH=packages/ml_api $(bin)/python benchmarks/explain.py $(model)

instructions: tools-dev ## Count a prediction's instructions and hold them to the recorded figures
	@$(bin)/python benchmarks/instructions.py

screenshot: tools-dev ## Take the pictures of the page in docs/images, with the synthetic sample; needs chromium
	@exec $(bin)/python scripts/screenshot.py $(model)

instructions-record: tools-dev ## Record the figures anew
	@$(bin)/python benchmarks/instructions.py --record

image: tools ## Build the container image IMAGE=ml-api of what was published last
	@exec $(bin)/python scripts/image.py build $(model)

run-image: tools ## Serve the image on PORT, with the models in it or the bundles in MODEL_DIR=folder, by model name
	@exec $(bin)/python scripts/image.py run

smoke-image: tools ## Start the image and hold it to what was published: versions, artefacts, commit, golden rows
	@exec $(bin)/python scripts/smoke_image.py

push-image: tools ## Push the image as REPOSITORY:TAG, where Docker is logged in; its digest goes to build/image.txt
	@exec $(bin)/python scripts/image.py push

training-image: tools ## Build the image that retrains what was published last: IMAGE=ml-api-training
	@exec $(bin)/python scripts/image.py training

test-image: tools-dev ## Build and try the image with a real Docker engine, set up if there is none (as root, minutes)
	@TEST_IMAGE=1 $(bin)/python scripts/engine.py $(bin)/python -m pytest tests/image $(PYTEST)

# Asks the network for no updates, and installs nothing that is not locked.
jupyterlab := build/notebook/bin/python -m jupyterlab --LabApp.extension_manager=readonly \
	--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate

notebook: tools-notebook ## Open notebooks/ in JupyterLab, on this machine alone; LAB="--no-browser --port 8888"
	@exec $(jupyterlab) --ServerApp.root_dir=$(call quoted,CURDIR) --LabApp.default_url=/lab/tree/notebooks $(LAB)

notebooks: tools-notebook ## Execute the notebooks and hold them to their outputs: NOTEBOOKS=--write
	@exec build/notebook/bin/python scripts/notebooks.py $(NOTEBOOKS)

notebook-image: tools ## Build the image of JupyterLab with the kit, the client and the server: IMAGE=ml-notebook
	@exec $(bin)/python scripts/image.py notebook

run-notebook-image: tools ## Start it, with the folder NOTEBOOK_DIR=notebooks mounted; it prints its address with a token
	@exec $(bin)/python scripts/image.py run-notebook

lock: ## Write the locks anew, with the newest versions, and conda's environments
	@# An incomplete lock must not prevent making a complete one.
	@$(set_up) .venv --lock requirements/dev.txt $(editable) --allow-incomplete
	@$(bin)/python scripts/lock.py

clean: ## Delete what is made here: environments, wheels, caches; not the trained bundle, not data
	@rm -f .venv/.ready.json build/serving/.ready.json # first, so that an interrupted rm leaves nothing that looks complete
	@rm -rf .venv build dist .tox .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage .coverage.* htmlcov

# Environments. Each is left alone if it is what its lock says.
tools:
	@$(set_up) .venv --lock requirements/train.txt $(editable)

tools-dev:
	@$(set_up) .venv --lock requirements/dev.txt $(editable)

# Without a pip of its own and without the packages' tests: what serves installs nothing and tests nothing.
serving: tools
	@$(set_up) build/serving --lock requirements.txt --models packages --pip $(bin)/python --without-tests

# kubectl, and the schemas of what it is told.
tools-kubernetes: tools-dev
	@$(set_up) build/kubernetes --lock requirements/kubernetes.txt --pip $(bin)/python

tools-bench:
	@$(set_up) build/benchmarks/venv --lock requirements/bench.txt $(editable)

tools-notebook:
	@$(set_up) build/notebook --lock requirements/notebook.txt $(editable)

# What was trained last, installed as it is for production.
served: tools tools-bench serving
	@$(set_up) build/serving --lock requirements/tables.txt --models packages --pip $(bin)/python --without-tests
	@$(bin)/python scripts/publish.py $(model)
	@$(bin)/python scripts/install_models.py
