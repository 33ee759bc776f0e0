#!/usr/bin/env bash
# Everything that needs a GPU, in less than 9 minutes on one card; writes one Markdown table.
#
#     benchmarks/gpu.sh [--out TABLE.md] [--limit SECONDS] [--only PART...] [--device cpu --tiny]
#
# Needs this checkout and a Python that has PyTorch ($PYTHON, else .venv/bin/python, else python3). Packages that are
# missing are installed into a temporary folder where pip finds them; PyTorch is never installed or replaced. A part
# that fails, or takes too long, is a row of the table, and the others go on. --device cpu --tiny tries the script.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=$(command -v python3)
"$python" -c 'import torch' 2>/dev/null || { echo "$python has no PyTorch: name one that has with PYTHON=..." >&2; exit 2; }
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
export PYTHONPATH="$root/src:$root/benchmarks:$site${PYTHONPATH:+:$PYTHONPATH}"
needed='numpy safetensors tyro tqdm packaging threadpoolctl av transformers'
missing=$("$python" -c 'import importlib.util, sys; print(*(n for n in sys.argv[1:] if not importlib.util.find_spec(n)))' $needed)
for package in $missing; do
    echo "installing $package into a temporary folder" >&2
    timeout 60 "$python" -m pip install -q --disable-pip-version-check --target "$site" "$package" >&2 \
        || echo "$package is not available: parts that need it will say so" >&2
done
"$python" "$root/benchmarks/gpu.py" "$@"
