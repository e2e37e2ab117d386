.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo run test test-fast browser attack torture check format bench lock clean

# make setup LANGUAGES=1, make run HOST=0.0.0.0 PORT=9000, make test ARGS='-k health -x', make setup PYTHON=/path/to/python3
HOST := 127.0.0.1
PORT := 8000
# 1 also installs what the large offline model needs, so that its tests run.
LANGUAGES := $(if $(CI),1)
ARGS :=

# The first Python on the path that is new enough.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON = $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$python -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$python && break; done)

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
# The checker of the dashboard's types.
TSC := .venv/typescript/node_modules/.bin/tsc
# What is installed, by the lock file that it came from.
PROD := .venv/requirements.stamp
DEV := .venv/requirements-dev.stamp
EXTRA := $(if $(LANGUAGES),.venv/requirements-languages.stamp)
COMPILED := .venv/compiled.stamp

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile

setup: $(DEV) $(EXTRA)  ## create .venv and install everything, for running and for developing; LANGUAGES=1 the large offline model too

demo: $(PROD)  ## show the whole service at work; ARGS goes to it
	$(BIN)/python -m tools.demo $(ARGS)

run: $(PROD)  ## start the API; HOST and PORT say where
	$(BIN)/uvicorn main:app --host $(HOST) --port $(PORT) \
		--http api.connection_guard:GuardedProtocol --no-access-log --ws none

# A test run changes nothing outside .venv, unless CI is set: there the browser is installed first.
# What Python has compiled is kept there too: many processes start in a run, and each would compile.
test test-fast: export PYTHONDONTWRITEBYTECODE =
test test-fast: export PYTHONPYCACHEPREFIX = $(CURDIR)/.venv/pycache
# Their files are in memory where there is much of it: thousands of commits need not wait for a disk.
test test-fast: export PYTEST_DEBUG_TEMPROOT = $(shell [ -w /dev/shm ] && \
	[ "$$(df -k /dev/shm | awk 'NR > 1 { print $$4 }')" -gt 3000000 ] && echo /dev/shm)
test: $(DEV) $(EXTRA) $(COMPILED) $(if $(CI),browser)  ## run all tests; ARGS goes to pytest
	$(BIN)/python -m pytest -n 7 --dist loadgroup --no-loadscope-reorder $(ARGS)

# Without it each of the processes of the first run would compile all that it imports, for itself.
$(COMPILED): $(DEV) $(EXTRA)
	@$(BIN)/python -m pytest --collect-only --quiet > /dev/null || true
	@touch $@

test-fast: $(DEV)  ## run the tests that start no server process
	$(BIN)/python -m pytest -n 3 --dist loadfile -m "not slow" $(ARGS)

# Without Chromium the tests of what the dashboard does are skipped, and say so.
browser:  ## install Chromium for the tests of the dashboard: by apt, as root, on Debian
	@command -v chromium-headless-shell >/dev/null && exit; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
		echo 'No Chromium here, and only root on Debian can install it: its tests will be skipped.'; exit; fi; \
	echo 'Installing the Debian package chromium-headless-shell, for the tests of the dashboard'; \
	apt-get update -q && DEBIAN_FRONTEND=noninteractive \
		apt-get install --quiet --yes --no-install-recommends chromium-headless-shell \
		|| echo 'Chromium could not be installed: its tests will be skipped.'

attack: $(DEV)  ## attack the service under 1 GB of memory, and judge; ARGS goes to tests.attacks
	$(BIN)/python -m tests.attacks $(ARGS)

torture: $(DEV)  ## kill, freeze and fill up the service, cut its power, and judge; ARGS goes to tools.torture
	$(BIN)/python -m tools.torture $(ARGS)

check: $(DEV)  ## check format, lint and types, where there is Node those of the dashboard too
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	@if ! command -v npm >/dev/null; then echo 'No Node here: the types of the dashboard are not checked.'; \
	elif ! $(MAKE) --silent $(TSC); then \
		echo 'TypeScript could not be installed: the types of the dashboard are not checked.'; \
	else $(BIN)/python -c 'import json, main; print(json.dumps(main.app.openapi()))' \
		| $(BIN)/python tools/typescript/from_openapi.py > .venv/typescript/api.d.ts \
		&& echo $(TSC) --project tools/typescript && $(TSC) --project tools/typescript; fi

# One package, by its hash. Nothing of it is served: the dashboard has no build step.
$(TSC): tools/typescript/package-lock.json
	@mkdir -p .venv/typescript
	cp tools/typescript/package.json tools/typescript/package-lock.json .venv/typescript
	cd .venv/typescript && npm ci --silent --no-audit --no-fund
	@touch $@

format: $(DEV)  ## format the code and mend what the linter can
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

bench: $(DEV)  ## measure; ARGS goes to bench
	$(BIN)/python -m bench $(ARGS)

# Versions already in a lock file are kept where they still fit.
LOCK := uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command 'make lock'

lock: $(DEV)  ## pin requirements*.in in requirements*.txt; ARGS=--upgrade takes newer versions
	$(BIN)/$(LOCK) $(ARGS) requirements.in -o requirements.txt
	$(BIN)/$(LOCK) $(ARGS) requirements-dev.in -o requirements-dev.txt
	$(BIN)/$(LOCK) $(ARGS) requirements-languages.in -o requirements-languages.txt
	$(BIN)/$(LOCK) $(ARGS) requirements-training.in -o requirements-training.txt

clean:  ## remove .venv and all that tools leave behind, but no data
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(DEV): requirements-dev.txt $(PROD)
	$(INSTALL) -r requirements.txt -r requirements-dev.txt
	@touch $@

.venv/requirements-languages.stamp: requirements-languages.txt $(PROD)
	$(INSTALL) -r requirements-languages.txt
	@touch $@

$(PROD): requirements.txt | $(BIN)/python
	$(INSTALL) -r requirements.txt
	@touch $@

$(BIN)/python:
	@'$(PYTHON)' -c '$(NEW_ENOUGH)' 2>/dev/null || \
		{ echo 'Python 3.11 or newer is needed: install it, or name it with make PYTHON=...' >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'This Python has no venv module: on Debian and Ubuntu, apt install python3-venv' >&2; exit 1; }
	'$(PYTHON)' -m venv --clear .venv
