#!/bin/sh
# Makes .venv with the command `avcil` in it, from pinned versions. Called by `make setup`.
set -eu
EXTRAS="dev,import,encoders,distributed,serve,hub,export,track,docs"
say() { echo "setup: $*" >&2; }

PYTHON="${PYTHON:-python3.11}"
command -v "$PYTHON" >/dev/null 2>&1 || PYTHON=python3
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  say "$PYTHON is older than Python 3.11. Install python3.11 with venv, or run: make PYTHON=/path/to/python3.11"
  exit 2
}
[ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
.venv/bin/python -m pip install --quiet -c constraints.txt uv

# Folders of wheels that pip was told of; uv reads its own variable only and refuses folders that are not there.
find_links=""
for folder in $(.venv/bin/python -m pip config list | sed -n "s/.*find-links='\(.*\)'$/\1/p" | tr ' ' '\n' | sort -u); do
  if [ -d "$folder" ]; then find_links="$find_links --find-links $folder"; fi
done

# PyPI's torch for Linux carries several GB of CUDA. Without an NVIDIA driver take the CPU build: from a
# local folder of wheels, else from PyTorch's own CPU index, which uv knows by name.
backend=""
if [ "$(uname -s)" = Linux ] && [ "$(uname -m)" = x86_64 ] && [ "${TORCH:-}" != cuda ] \
  && ! command -v nvidia-smi >/dev/null 2>&1; then
  has_cpu_wheel=""
  for folder in ${find_links}; do
    case "$folder" in --find-links) ;; *) ls "$folder"/torch-*+cpu-*.whl >/dev/null 2>&1 && has_cpu_wheel=yes ;; esac
  done
  [ -n "$has_cpu_wheel" ] || backend="--torch-backend cpu"
fi

# shellcheck disable=SC2086  # the options are lists of words
.venv/bin/uv pip install --quiet --python .venv/bin/python --compile-bytecode $find_links $backend \
  -c constraints.txt -e ".[$EXTRAS]" || {
  say "installing failed; the lines above say why."
  if [ -n "$backend" ]; then
    say "If PyTorch's CPU index cannot be reached from here, put the CPU wheel of the torch version in"
    say "constraints.txt into a folder and run: PIP_FIND_LINKS=/that/folder make setup"
    say "or accept several GB of CUDA libraries from PyPI: TORCH=cuda make setup"
  fi
  exit 1
}

# Browser tests drive Debian's Chromium; where it cannot be installed they are skipped and say so.
if ! command -v chromium >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium
  } >/dev/null 2>&1 || say "Chromium could not be installed; browser tests will be skipped"
fi
touch .venv/ready
