# make app    set up and open the page            make test   set up and run every test
# make lint   style checks                        make clean  forget the environment

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: app test lint clean

$(VENV)/app.done: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "TRIP needs Python 3.11 or newer; name one with PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --quiet -r requirements.txt
	touch $@

$(VENV)/test.done: $(VENV)/app.done requirements-test.txt
	$(BIN)/pip install --disable-pip-version-check --quiet -r requirements-test.txt
	touch $@

app: $(VENV)/app.done
	$(BIN)/python app.py $(ARGS)

test: $(VENV)/test.done lint
	@command -v chromium chromium-browser google-chrome >/dev/null || $(BIN)/python tests/install_browser.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses 2 --dist loadgroup --no-loadscope-reorder $(ARGS)

lint: $(VENV)/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV)
