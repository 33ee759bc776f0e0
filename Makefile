# The main targets are `make demo` and `make test`. Every target sets up `.venv` first, once.

PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: setup setup-browser lock leaderboard leaderboard-small demo test test-slow check-wheel docs lint clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt requirements.lock setup.sh
	PYTHON=$(PYTHON) sh setup.sh

setup-browser:  # Chromium for the browser tests; needs apt-get and root
	sh setup-browser.sh

lock:  # requirements.lock anew, after a change of pyproject.toml or constraints.txt; needs .venv/bin/uv
	sh lock.sh

demo: setup
	$(BIN)/avcil demo --out runs/demo

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: setup  # sequences of commands, kills, several processes, Ray, the page in a browser
	$(BIN)/python -m pytest -n 2 -m slow

check-wheel: setup  # builds the wheel, installs it into empty environments and runs the main commands; 5 minutes
	$(BIN)/python scripts/check_wheel.py

leaderboard: setup  # hours; DATA="NAME=STORE:CLASSES_PER_STEP ..." measures other stores than that of the demo
	$(BIN)/python scripts/leaderboard.py runs/leaderboard $(if $(DATA),--data $(DATA))

leaderboard-small: setup  # minutes: one order, five epochs, into runs/leaderboard-small
	$(BIN)/python scripts/leaderboard.py runs/leaderboard-small --orders 0 --stream-orders 0 --epochs 5 \
		--out runs/leaderboard-small

docs: setup  # the documentation site, in site/; it needs no server: open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv runs/demo site
