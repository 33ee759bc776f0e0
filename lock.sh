#!/bin/sh
# Writes requirements.lock: every package that set-up installs but torch, transitive ones too, with the hashes of all
# its files on PyPI. Called by `make lock` after a change of pyproject.toml or constraints.txt.
#
# Versions in the file that still fit are kept; remove it first to take the newest ones that constraints.txt allows.
# torch is not in it, since a CPU build from another place may take the place of PyPI's; nor are the CUDA packages
# that only PyPI's build for Linux needs.
set -eu
lock=requirements.lock
new=$(mktemp)
trap 'rm -f "$new"' EXIT
[ ! -e "$lock" ] || cp "$lock" "$new"
.venv/bin/uv pip compile --quiet --no-config --default-index https://pypi.org/simple \
  --universal --python-version 3.11 --all-extras -c constraints.txt --generate-hashes \
  --custom-compile-command "make lock" -o "$new" pyproject.toml
awk '/^[^ #]/ { drop = /^(torch==|triton==|nvidia-|cuda-)/ } !drop' "$new" > "$lock.new"
mv "$lock.new" "$lock"
