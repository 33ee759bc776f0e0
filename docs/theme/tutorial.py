"""Run the tutorial's commands and put what they print into the page.

    python docs/theme/tutorial.py FOLDER        # FOLDER holds runs/demo, as `avcil demo` left it

A block below <!-- run --> is run; a ```text block right behind it shows what it printed. `blocks` is what the test of
the tutorial runs in a small form.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).parents[1] / "tutorial.md"
MARKED = re.compile(r"<!-- run -->\n```(sh|python)\n(.*?)```\n(```text\n.*?```\n)?", re.DOTALL)
AVCIL = 'avcil() { "$PYTHON" -m avcil "$@"; }\nset -e\n'


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Language and code of each block that is marked."""
    for language, code, _ in MARKED.findall(text):
        yield language, code


def run(language: str, code: str, folder: Path) -> str:
    """What a block prints when it is run in `folder`; CalledProcessError if it fails."""
    words = [sys.executable, "-c", code] if language == "python" else ["bash", "-c", AVCIL + code]
    environment = os.environ | {
        "PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=1800)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, code, done.stdout, done.stderr)
    return done.stdout


def main(folder: Path) -> None:
    """Run all blocks, the demo itself excepted, in FOLDER/tutorial made anew, and rewrite the page."""
    shutil.rmtree(folder / "tutorial", ignore_errors=True)

    def filled(found: re.Match[str]) -> str:
        language, code, shown = found.groups()
        said = run(language, code.replace("avcil demo ", "true "), folder)
        print(said, flush=True)
        head = found.group(0).removesuffix(shown) if shown else found.group(0)
        return head + (f"```text\n{said.strip(chr(10))}\n```\n" if shown else "")

    page = MARKED.sub(filled, PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
