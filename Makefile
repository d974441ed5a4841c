# Two commands: `make demo` runs the main job from nothing, `make test` is what CI runs.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: demo test check format schemas clean

demo: .venv/demo.done
	$(BIN)/python tools/demo.py demo

test: check
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal --cov

check: .venv/test.done
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/test.done
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

schemas: .venv/test.done
	$(BIN)/python tools/write_schemas.py

.venv/python.done:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "shardkit needs Python 3.11 or later; say which with: make PYTHON=python3.12 demo"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/demo.done: .venv/python.done pyproject.toml
	@echo "installing shardkit with torch (about 5.5 GB, a minute or two) ..."
	$(PIP) install -e '.[demo]'
	@touch $@

.venv/test.done: .venv/python.done pyproject.toml
	@echo "installing shardkit with torch and the test tools (about 6 GB, a minute or two) ..."
	$(PIP) install -e '.[test]'
	@touch $@ .venv/demo.done

clean:
	rm -rf .venv demo
