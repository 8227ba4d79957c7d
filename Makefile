# make demo    lip-sync the sample clip, or VIDEO="…" AUDIO="…", into OUT="…"; sets up .venv by itself
# make app     start the service and its page at http://127.0.0.1:8700 (docs/service.md); ARGS="…" are options of `latentsync serve`
# make test    linters and tests, in an environment of their own (.venv-test)
# make check   linters only
# make docs    the documentation as a site, in site/; warnings are errors
# make resolve does every supported Python and system find all it needs?
# make package the sdist and the wheel, twice, with the same hash, and what is in them
# make clean   delete what this file made (environments, caches), never a result
#
# Needs Python 3.11 to 3.14 (choose one with PYTHON=python3.12) and a network for pip; no compiler, no ffmpeg.
# On Linux PyTorch's usual build holds CUDA and is large. Without an NVIDIA card the small one is taken where PyTorch's own
# index answers; TORCH="torch==2.13.0" asks for the usual one. Without make: docs/install.md.

PYTHON ?= python3
TORCH ?= auto
TEST_EXTRAS ?= dev,synth,synth-align,train,data,serve,postgres,browser
PYTEST_ARGS ?= -n 2 --dist loadfile

VIDEO ?=
AUDIO ?=
MODEL ?= tiny
OUT ?=
# Handed on as environment variables, so that names with spaces and quotes reach the command as they are.
export VIDEO AUDIO MODEL OUT TORCH
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo app test check docs resolve package clean

help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' Makefile

# $(call environment,FOLDER,EXTRAS): FOLDER is a virtual environment with PyTorch, this package and the face models.
define environment
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || \
	  { echo "error: $(PYTHON) is missing or is not Python 3.11 to 3.14. Choose one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) packaging/environment.py $(1) --torch "$$TORCH" --extras "$(2)"
endef

.venv/.installed: pyproject.toml
	$(call environment,.venv,)

.venv-test/.installed: pyproject.toml
	$(call environment,.venv-test,$(TEST_EXTRAS))

demo: .venv/.installed
	@set -eu; set -- --model "$$MODEL"; \
	[ -z "$$OUT" ] || set -- "$$@" --out "$$OUT"; \
	sample=src/latentsync/assets/sample; \
	exec .venv/bin/python -m latentsync demo "$${VIDEO:-$$sample/talk.mp4}" "$${AUDIO:-$$sample/speech.wav}" "$$@"

app: .venv/.installed
	@.venv/bin/python -c 'import fastapi, sqlalchemy, sse_starlette, uvicorn' 2>/dev/null || \
	  { echo "the service: latentsync[serve]"; .venv/bin/python -m pip install --quiet --editable ".[serve]"; }
	@exec .venv/bin/python -m latentsync serve $(ARGS)

test: check
	@echo "tests"
	@.venv-test/bin/python -m pytest $(PYTEST_ARGS)

check: .venv-test/.installed
	@echo "linters: ruff, mypy, import-linter"
	@.venv-test/bin/python -m ruff check .
	@.venv-test/bin/python -m ruff format --check .
	@.venv-test/bin/python -m mypy
	@.venv-test/bin/python -m mypy recipes
	@.venv-test/bin/python -m mypy packaging
	@.venv-test/bin/lint-imports --no-cache

docs: .venv-test/.installed
	@.venv-test/bin/python -m pip install --quiet "mkdocs-material>=9.5" "mkdocstrings[python]>=0.26"
	@NO_MKDOCS_2_WARNING=1 .venv-test/bin/python -m mkdocs build --strict --quiet
	@echo "site/index.html"

resolve: .venv-test/.installed
	@.venv-test/bin/python -m pip install --quiet "uv>=0.5"
	@.venv-test/bin/python packaging/resolve.py

package: .venv-test/.installed
	@.venv-test/bin/python -m pip install --quiet "build>=1.2" "setuptools>=77" "cyclonedx-bom>=4"
	@.venv-test/bin/python packaging/build.py

clean:
	@grep -q '^name = "latentsync"' pyproject.toml || { echo "error: run this in the project's folder" >&2; exit 1; }
	@for folder in .venv .venv-test; do \
	  if [ -f $$folder/.made-by-make ]; then echo "deleting $$folder"; rm -rf $$folder; fi; done
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build site
	@find src tests -type d -name __pycache__ -prune -exec rm -rf {} +
