# Two commands matter: `make quickstart` and `make test`. Everything else is a part of them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup tools quickstart test test-long lint format mutants bench experiment-rmm-fix pictures docs clean

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(STAMP)

# A real Prometheus and a real browser for the tests that use them: as root from Debian, else those tests skip.
tools:
	@missing=; for tool in prometheus chromium; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing \
			>/dev/null || echo "not installed:$$missing; tests that need them will skip"; \
	fi

quickstart: setup
	$(BIN)/realmfleet run clusters/quickstart.yaml --fleet ray --out runs/quickstart --replace

test: setup tools
	$(BIN)/pytest -n 2 --dist loadgroup -m "not long"

test-long: setup
	$(BIN)/pytest -m long

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python docs/generate.py --check
	$(BIN)/python -m dashboards.generate --check

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

mutants: setup
	$(BIN)/python tests/mutants/run.py

bench: setup
	$(BIN)/python tests/benchmarks/run.py

experiment-rmm-fix: setup
	$(BIN)/python docs/experiments/rmm_fix.py

# Pictures of the documentation: a live fleet, photographed in Chromium.
pictures: setup tools
	$(BIN)/python docs/make_pictures.py

docs: setup
	$(BIN)/python docs/generate.py
	$(BIN)/python -m dashboards.generate

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
