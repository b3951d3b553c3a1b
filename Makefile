# Omni: `make` lists what there is. Everything lives in .venv (the tools) and .omni (the state); both can be deleted.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-print-directory

# The first Python on the path that is 3.11 or 3.12; `make install PYTHON=/path/to/python3.11` names another.
PYTHON_FITS := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))
PYTHON ?= $(shell for name in python3.11 python3.12 python3; do \
  $$name -c '$(PYTHON_FITS)' 2>/dev/null && command -v $$name && break; done)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
TORCH  := $(shell sed -n 's/^torch==//p' constraints.txt)

# pip reads its own configuration as always; PIP_FLAGS adds to it.
PIP_FLAGS ?=
PIP := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off $(PIP_FLAGS)
# Of pip's several hundred lines, show a count that moves; errors come through on stderr as they are.
BRIEFLY := awk '/^Collecting /{if (++n % 20 == 0) {print "  " n " packages found"; fflush()}} \
  /^Installing collected/{print "  unpacking"; fflush()}'

.PHONY: help install spark demo test chaos serve notebooks mlflow docs site bench audit sbom lock clean distclean

help: ## list the commands
	@echo "Omni: one customer, every channel, one decision."
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1: \2/p' $(MAKEFILE_LIST)

install: $(STAMP) ## make .venv and install everything into it, at the versions in constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c '$(PYTHON_FITS)'; then \
	  echo "Omni needs Python 3.11 or 3.12. Install one, or name it: make install PYTHON=/path/to/python3.11" >&2; exit 2; fi
	@if [ ! -x $(BIN)/python ]; then echo "Making $(VENV) with $$("$(PYTHON)" --version) …"; \
	  "$(PYTHON)" -m venv $(VENV) || { echo "This Python cannot make virtual environments; on Debian or Ubuntu: apt install python3-venv" >&2; exit 2; }; fi
	@echo "Installing torch $(TORCH) (1/2) …"
	@$(PIP) "torch==$(TORCH)" -c constraints.txt | $(BRIEFLY)
	@echo "Installing Omni and the rest (2/2); a few minutes the first time …"
	@$(PIP) -e '.[demo,dev,notebooks]' -c constraints.txt | $(BRIEFLY)
	@touch $@
	@echo "Installed. The command is $(BIN)/omni"

spark: $(STAMP) ## add Spark (450 MB; needs Java 17) and test that it gives what the embedded engine gives
	@$(PIP) -e '.[spark]' -c constraints.txt | $(BRIEFLY)
	$(BIN)/python -m pytest -q -m spark

demo: $(STAMP) ## real data → features → three models → registry → service, and three customers' answers
	@$(BIN)/omni demo

test: $(STAMP) ## lint, types, layers, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q

chaos: $(STAMP) ## kill -9 under load (OMNI_CHAOS_ROUNDS=50), damaged files, a full disk; hours
	$(BIN)/python -m pytest -q -m chaos tests/chaos

serve: $(STAMP) ## the HTTP service on 127.0.0.1:3000
	@$(BIN)/omni serve

notebooks: $(STAMP) ## open the notebooks in JupyterLab on this machine
	@$(BIN)/jupyter lab --ip=127.0.0.1 notebooks

mlflow: $(STAMP) ## runs, metrics and models in MLflow's own pages, on 127.0.0.1:5000
	@MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true $(BIN)/mlflow ui --host 127.0.0.1 --workers 1 \
	  --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///$${OMNI_HOME:-.omni}/mlflow/mlflow.db}"

docs: $(STAMP) ## build/site: the documentation, with a reference made from the code; a broken link fails
	@cd docs && ../$(BIN)/python -m site_builder ../build/docs
	@$(BIN)/zensical build --clean --strict

site: docs ## the same, in a browser: http://127.0.0.1:3080/ until Ctrl-C
	@(sleep 1; $(BIN)/python -m webbrowser http://127.0.0.1:3080/) >/dev/null 2>&1 &
	@$(BIN)/python -m http.server 3080 --bind 127.0.0.1 --directory build/site

bench: $(STAMP) ## measure speed: what tests/benchmarks/README.md states, on your machine
	@for file in tests/benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python "$$file"; done

audit: sbom ## known weaknesses of the pinned packages, and whether build/sbom.json is valid CycloneDX (needs a network)
	@[ -x build/audit/bin/jsonschema ] || { "$(PYTHON)" -m venv build/audit \
	  && build/audit/bin/python -m pip install -q pip-audit 'cyclonedx-python-lib[json-validation]'; }
	build/audit/bin/python -c 'import sys; from cyclonedx.schema import SchemaVersion; from cyclonedx.validation.json import JsonStrictValidator; \
	  sys.exit(JsonStrictValidator(SchemaVersion.V1_6).validate_str(open("build/sbom.json").read()))'
	build/audit/bin/pip-audit --no-deps --disable-pip -r constraints.txt

lock: $(STAMP) ## pylock.toml: constraints.txt with the hash of every file (needs a network)
	@[ -x build/lock/bin/uv ] || { "$(PYTHON)" -m venv build/lock && build/lock/bin/python -m pip install -q uv; }
	build/lock/bin/uv pip compile -q pyproject.toml --extra demo --extra dev --extra notebooks -c constraints.txt \
	  --universal --python-version 3.11.5 --format pylock.toml -o build/lock/pylock.toml
	$(BIN)/python -m features.checks.lock build/lock/pylock.toml pylock.toml

sbom: $(STAMP) ## build/sbom.json: what is installed, as CycloneDX 1.6
	$(BIN)/python -m features.checks.sbom build/sbom.json

clean: ## delete all state (.omni) and caches; the next demo starts from the sources
	rm -rf .omni .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .cache build dist *.egg-info
	find features training serving tests notebooks docs -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## the same, and .venv too
	rm -rf $(VENV)
