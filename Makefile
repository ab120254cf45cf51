# Two commands do everything from a clone:
#
#   make demo     the whole pipeline on the shipped English-Dutch task
#   make test     the whole test suite
#
# `make check` is the gate: format, lint, types, generated documents. All install into .venv, once.

SHELL := bash
VENV := .venv
WORKERS := 2

# the first python that is new enough and can make a virtual environment
PYTHONS := python3.11 python3.12 python3.13 python3.14 python3
PYTHON = $(shell for name in $(PYTHONS); do \
	$$name -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$name && break; done)

# a stamp is named after what decides what is installed, and where: times do not matter
KEY := $(shell { pwd; cat pyproject.toml constraints.txt; } | cksum | tr ' ' '-')
INSTALL = $(VENV)/bin/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
# false for an environment that was half made, or moved here from elsewhere
HAS_PIP = $(VENV)/bin/python -m pip --version >/dev/null 2>&1
IN_VENV = PATH="$(CURDIR)/$(VENV)/bin:$$PATH"

.NOTPARALLEL:
.PHONY: demo test check clean

demo: $(VENV)/installed-$(KEY)
	$(IN_VENV) bash examples/en-nl/pipeline.sh

# one thread a worker: two workers with a thread a core each would get in each other's way
test: $(VENV)/installed-test-$(KEY)
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(VENV)/bin/python -m pytest -n $(WORKERS)

check: $(VENV)/installed-dev-$(KEY)
	$(IN_VENV) bash scripts/check

clean:
	rm -rf $(VENV)

$(VENV)/installed-$(KEY): EXTRAS =
$(VENV)/installed-test-$(KEY): EXTRAS = [test]
$(VENV)/installed-dev-$(KEY): EXTRAS = [dev]
$(VENV)/installed-$(KEY) $(VENV)/installed-test-$(KEY) $(VENV)/installed-dev-$(KEY):
	@$(HAS_PIP) || test -n "$(PYTHON)" || { echo >&2 \
	'error: no python of 3.11 or newer that can make a virtual environment: $(PYTHONS)'; exit 1; }
	@$(HAS_PIP) || { echo 'making $(VENV) with $(PYTHON)'; $(PYTHON) -m venv --clear $(VENV); }
	@echo 'installing ketchup-kd$(EXTRAS) into $(VENV); the first time takes some minutes'
	@$(INSTALL) -e '.$(EXTRAS)'
	@touch $@
