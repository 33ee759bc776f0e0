#!/bin/sh
# Makes .venv with the command `avcil` in it. Called by `make setup`; changes nothing outside this folder.
#
# All packages but torch come from requirements.lock, checked against the hashes there (`make lock` writes it).
# torch has the version in constraints.txt; its build depends on the machine, so it has no hash.
set -eu
say() { echo "setup: $*" >&2; }

PYTHON="${PYTHON:-python3.11}"
command -v "$PYTHON" >/dev/null 2>&1 || PYTHON=python3
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  say "$PYTHON is older than Python 3.11. Install python3.11 with venv, or run: make PYTHON=/path/to/python3.11"
  exit 2
}
[ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
sed -n '/^uv==/,/[^\\]$/p' requirements.lock > .venv/uv.txt
.venv/bin/python -m pip install --quiet --require-hashes --no-deps -r .venv/uv.txt
install() { .venv/bin/uv pip install --quiet --python .venv/bin/python --compile-bytecode "$@"; }

install --require-hashes --no-deps --only-binary :all: -r requirements.lock || {
  say "installing failed; the lines above say why. If a hash differs, a file on the package index is not the one"
  say "that requirements.lock was written for: do not install it."
  exit 1
}

sh scripts/install_torch.sh .venv/bin/python
install --no-deps --no-build-isolation -e .
.venv/bin/uv pip check --quiet --python .venv/bin/python || {
  say "the packages above do not fit together: run make lock after a change of pyproject.toml or constraints.txt"
  exit 1
}
command -v chromium >/dev/null 2>&1 \
  || say "without Chromium, browser tests are skipped; make setup-browser installs it (apt-get, as root)"
touch .venv/ready
