# Needs only Python 3.11 or later with venv. `make PYTHON=python3.12` chooses another one.
PYTHON ?= python3
BIN := .venv/bin
# Stamps: .venv has the packages that running needs, and those that developing needs.
RUN := .venv/.run
STAMP := .venv/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The tests wait more than they compute: two processes per core.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(2 * (os.cpu_count() or 1))')

# Tests start processes, which would otherwise compile every module again.
unexport PYTHONDONTWRITEBYTECODE

# What `make bench-quick` writes, for `python -m benchmarks.compare A.json B.json`.
JSON ?= build/bench-quick.json

# 256 bits in base64, fit for a URL.
random := head -c 32 /dev/urandom | base64 | tr '+/' '-_'
# The containers' user reads the files; other users of this machine cannot enter their folder.
secret = test -s secrets/$(1) || { $(2) > secrets/$(1) && chmod 644 secrets/$(1); }

# The packages of $(2) in the versions of constraints.txt, with the hashes of all their files.
locked = { sed '/^[^\#]/,$$d' $(1); build/venv/bin/uv pip compile --quiet --universal \
	--python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url \
	--constraint constraints.txt $(2); } > build/locked.txt && mv build/locked.txt $(1)

.DEFAULT_GOAL := help
.PHONY: help venv run test-quick test coverage test-long fuzz check docs bench bench-quick soak fmt client dist \
	constraints sbom audit secrets clean

help: ## list all targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP) ## create .venv and install everything into it

$(RUN): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is no Python 3.11 or later; name one: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@echo "installing what Heloise needs into .venv"
	@$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(STAMP): $(RUN)
	@echo "installing what its tests and checks need into .venv"
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

run: $(RUN) ## start Heloise with a local inbox, to try it out
	@$(BIN)/heloise dev

# Lifts the limit of pyproject.toml for processes that take longer on purpose.
HOURS := -o faulthandler_timeout=0

PYTEST := $(BIN)/pytest --quiet --durations 40 --numprocesses $(WORKERS) --dist worksteal
ALL := $(PYTEST) --every-statement
QUICK := tests/api tests/delivery tests/oauth tests/smtp tests/store tests/templating tests/unit \
	clients/python/tests/test_generated.py

test-quick: $(STAMP) ## run the tests that need no other process, on SQLite
	@echo "test-quick: units, store, SMTP and API on SQLite: about 80 seconds on two cores"
	@$(PYTEST) -m "not long and not slow and not postgresql" $(QUICK)

test: $(STAMP) ## run the tests, on SQLite and PostgreSQL
	@echo "test: everything except crashes, outages and crawls, on SQLite and PostgreSQL:"
	@echo "      about 8 minutes on two cores; \`make test-quick\` takes 80 seconds"
	@$(ALL)

coverage: $(STAMP) ## run the same tests and measure the coverage; takes twice as long
	@$(ALL) --cov --cov-report term

test-long: $(STAMP) ## run the tests of crashes, outages, backlogs and crawls
	@echo "test-long: crashes, outages, backlogs and crawls: about 3 minutes on two cores"
	@$(PYTEST) -m long

fuzz: $(STAMP) ## send thousands of requests, valid and invalid by the OpenAPI document
	@echo "fuzz: thousands of requests to every operation: about half an hour on two cores"
	@FUZZ_EXAMPLES=300 $(BIN)/pytest --numprocesses $(WORKERS) -rP $(HOURS) tests/fuzz

check: $(STAMP) docs ## check lint, format, types, imports, versions and the links of docs/
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(PIP) check

docs: $(STAMP) ## build the site of docs/ into build/site; fail on a dead link
	@$(BIN)/zensical build --strict --clean

bench: $(STAMP) ## measure everything, and write the results to docs/
	@$(BIN)/python -m benchmarks --docs --json build/bench.json
	@$(BIN)/python -m benchmarks.profile_accept --docs

bench-quick: $(STAMP) ## measure in a minute; JSON=FILE keeps the result, to compare commits
	@$(BIN)/python -m benchmarks --quick --json $(JSON)

soak: $(STAMP) ## run mixed faults for ten minutes on each database
	@SOAK_SECONDS=600 $(BIN)/pytest -m long $(HOURS) tests/e2e/test_soak.py

fmt: $(STAMP) ## format, and fix what ruff can fix
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

client: $(STAMP) ## write the types and methods of clients/python from the OpenAPI document
	@PYTHONPATH=. $(BIN)/python -W ignore clients/python/generate.py

dist: $(STAMP) ## build Heloise and its Python client into dist/, to publish them
	@$(BIN)/hatchling build --directory dist
	@cd clients/python && ../../$(BIN)/hatchling build --directory ../../dist

constraints: ## pin the newest versions: constraints.txt, requirements*.txt
	@rm -rf build/venv
	@$(PYTHON) -m venv build/venv
	@build/venv/bin/python -m pip --disable-pip-version-check install --quiet --editable '.[dev]'
	@{ sed '/^[^#]/,$$d' constraints.txt; build/venv/bin/python -m pip freeze --exclude-editable; } \
		> build/constraints.txt
	@mv build/constraints.txt constraints.txt
	@build/venv/bin/python -m pip --disable-pip-version-check install --quiet uv
	@$(call locked,requirements.txt,--extra otel pyproject.toml)
	@echo "cyclonedx-bom hatchling" | tr ' ' '\n' > build/requirements-build.in
	@$(call locked,requirements-build.txt,build/requirements-build.in)
	@rm -rf build/venv

sbom: $(STAMP) ## list every installed package in build/sbom.cdx.json (CycloneDX)
	@mkdir -p build && $(PYTHON) -m venv build/tools
	@build/tools/bin/pip --disable-pip-version-check install --quiet --require-hashes \
		--only-binary :all: --requirement requirements-build.txt
	@build/tools/bin/cyclonedx-py environment --output-file build/sbom.cdx.json $(BIN)/python
	@rm -rf build/tools

audit: ## ask PyPI for known vulnerabilities of the image's packages
	@mkdir -p build && $(PYTHON) -m venv build/tools
	@build/tools/bin/pip --disable-pip-version-check install --quiet pip-audit
	@build/tools/bin/pip-audit --requirement requirements.txt --require-hashes --disable-pip --strict
	@rm -rf build/tools

secrets: ## create the missing secret files of docker-compose.yml
	@mkdir -p -m 700 secrets
	@$(call secret,postgres_password,$(random) | tr -d '=')
	@$(call secret,heloise_database_url,\
		printf 'postgresql://heloise:%s@postgres/heloise' "$$(cat secrets/postgres_password)")
	@$(call secret,heloise_secret_keys,$(random))
	@$(call secret,heloise_admin_key,$(random))
	@echo "the admin key is in secrets/heloise_admin_key"

clean: ## remove .venv, caches and build results
	@rm -rf .venv build dist htmlcov .cache .coverage* .hypothesis .*_cache
	@find . -name __pycache__ -prune -exec rm -rf {} +
