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

# Folders of wheels that pip was told of; uv reads its own variable only and refuses folders that are not there.
find_links=""
has_cpu_wheel=""
for folder in $(.venv/bin/python -m pip config list | sed -n "s/.*find-links='\(.*\)'$/\1/p" | tr ' ' '\n' | sort -u); do
  [ -d "$folder" ] || continue
  find_links="$find_links --find-links $folder"
  ls "$folder"/torch-*+cpu-*.whl >/dev/null 2>&1 && has_cpu_wheel=yes
done

# PyPI's torch for Linux carries several GB of CUDA. Without an NVIDIA driver take the CPU build: from a
# local folder of wheels, else from PyTorch's own CPU index, which uv knows by name.
options=""
if [ "$(uname -s)" = Linux ] && [ "$(uname -m)" = x86_64 ] && [ "${TORCH:-}" != cuda ] \
  && ! command -v nvidia-smi >/dev/null 2>&1; then
  options="--no-deps"
  [ -n "$has_cpu_wheel" ] || options="--no-deps --torch-backend cpu"
fi

# shellcheck disable=SC2086  # the options are lists of words
install $find_links $options "$(grep '^torch==' constraints.txt)" || {
  say "installing torch failed; the lines above say why."
  if [ -n "$options" ]; then
    say "If PyTorch's CPU index cannot be reached from here, put the CPU wheel of the torch version in"
    say "constraints.txt into a folder and run: PIP_FIND_LINKS=/that/folder make setup"
    say "or accept several GB of CUDA libraries from PyPI: TORCH=cuda make setup"
  fi
  exit 1
}
install --no-deps --no-build-isolation -e .
.venv/bin/uv pip check --quiet --python .venv/bin/python || {
  say "the packages above do not fit together: run make lock after a change of pyproject.toml or constraints.txt"
  exit 1
}
command -v chromium >/dev/null 2>&1 \
  || say "without Chromium, browser tests are skipped; make setup-browser installs it (apt-get, as root)"
touch .venv/ready
