#!/bin/sh
# Installs torch, of the version in constraints.txt, into the environment of the Python given as argument.
# Called by setup.sh and check_wheel.py; needs the uv and the pip of .venv.
set -eu
say() { echo "install_torch: $*" >&2; }
cd "$(dirname "$0")/.."

# Folders of wheels that pip is configured with. uv does not read pip's configuration and rejects missing folders.
find_links=""
has_cpu_wheel=""
for folder in $(.venv/bin/python -m pip config list | sed -n "s/.*find-links='\(.*\)'$/\1/p" | tr ' ' '\n' | sort -u); do
  [ -d "$folder" ] || continue
  find_links="$find_links --find-links $folder"
  ls "$folder"/torch-*+cpu-*.whl >/dev/null 2>&1 && has_cpu_wheel=yes
done

# PyPI's torch for Linux needs several GB of CUDA libraries. Without an NVIDIA driver, the CPU build is installed: from
# a local folder of wheels, else from PyTorch's index of CPU builds, whose address uv knows.
options=""
if [ "$(uname -s)" = Linux ] && [ "$(uname -m)" = x86_64 ] && [ "${TORCH:-}" != cuda ] \
  && ! command -v nvidia-smi >/dev/null 2>&1; then
  options="--no-deps"
  [ -n "$has_cpu_wheel" ] || options="--no-deps --torch-backend cpu"
fi

# shellcheck disable=SC2086  # the options are lists of words
.venv/bin/uv pip install --quiet --python "$1" --compile-bytecode \
  $find_links $options "$(grep '^torch==' constraints.txt)" || {
  say "installing torch failed; the lines above say why."
  if [ -n "$options" ]; then
    say "If PyTorch's index of CPU builds cannot be reached, put the CPU wheel of the torch version in"
    say "constraints.txt into a folder and run: PIP_FIND_LINKS=/that/folder make setup"
    say "or accept several GB of CUDA libraries from PyPI: TORCH=cuda make setup"
  fi
  exit 1
}
