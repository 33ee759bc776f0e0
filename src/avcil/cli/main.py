"""The command `avcil`: finds the verb, parses its options, runs it, and turns errors into words.

Nothing heavy is imported before a verb runs, so that help answers at once.
"""

from __future__ import annotations

import importlib
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from avcil.cli.output_streams import OutputError, prepare_streams
from avcil.errors import AvcilError, unknown_name
from avcil.utils.files import is_storage_error
from avcil.utils.version import __version__

VERBS = {
    "demo": "render clips, train four methods, print a table and write a report, in minutes",
    "scan": "list the clips of folders",
    "extract": "encode the clips of a list into a feature store",
    "features": "show, verify, compare or join feature stores",
    "train": "train a model step by step on a feature store",
    "reproduce": "train many runs in parallel and print a table of results",
    "predict": "predict the classes of clips, or a timeline of long videos",
    "learn": "add classes to a saved model",
    "merge": "combine saved models into one",
    "rename": "rename classes of a saved model",
    "forget": "remove clips or classes from a saved model",
    "serve": "serve a model as a web page and an HTTP API",
    "export": "export a saved model to ONNX",
    "report": "write an HTML report of runs",
    "benchmark": "list, show or fetch the published benchmarks; evaluate with VGGSounder",
    "import-features": "import the features released by AV-CIL's authors",
    "methods": "list the methods and their options",
    "streams": "list the orders in which clips can arrive, and their options",
    "encoders": "list the encoders: license, size, speed on this machine, intended use",
    "doctor": "check the installation",
}


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; whoever handles Ctrl-C handles it in the same way."""


def usage() -> str:
    """The list of verbs."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {summary}" for verb, summary in VERBS.items()]
    return "\n".join(
        [
            "avcil: audio-visual class-incremental learning",
            "",
            "usage: avcil COMMAND [options]        avcil COMMAND --help shows the options of a command",
            "",
            *lines,
            "",
            "avcil --version prints the version. --debug, with any command, shows the traceback of an error.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 for success, 2 for bad input, 1 for a failure, 130 after Ctrl-C, 143 after
    SIGTERM."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = words[: words.index("--")] if "--" in words else words
    debug = "--debug" in options
    if debug:
        words.remove("--debug")
    with _sigterm_as_exception():
        code = _guarded(words, debug=debug)
    sys.exit(code)


@contextmanager
def _sigterm_as_exception() -> Iterator[None]:
    """Raise `Terminated` in the main thread at SIGTERM, unless the process handles or ignores SIGTERM already."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    try:
        before = signal.getsignal(signal.SIGTERM)
        if before is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _guarded(words: list[str], *, debug: bool) -> int:
    """The exit code of a command, whatever comes up; its error in a line, and where it arose if asked."""
    prepare_streams()
    try:
        try:
            code = _run(words) or 0
        except SystemExit:  # --help, and words that do not fit
            sys.stdout.flush()
            raise
        sys.stdout.flush()
        return code
    except OutputError as error:
        if not error.is_wanted:
            print(f"avcil: {error}", file=sys.stderr)
        return 0 if error.is_wanted else error.exit_code
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        message, code = _in_words(error)
        with suppress(OutputError):
            sys.stdout.flush()
        print(f"avcil: {message}", file=sys.stderr)
        return code


def _in_words(error: BaseException) -> tuple[str, int]:
    """What to say of an error, and the exit code."""
    if isinstance(error, AvcilError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        code = 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)
        return "stopped. Run the same command again to go on from there", code
    if isinstance(error, ModuleNotFoundError) and not (error.name or "avcil").startswith("avcil"):
        return (
            f"the package {error.name} is missing. python -m avcil.doctor says what else is, and what to do",
            1,
        )
    if isinstance(error, OSError) and is_storage_error(error):
        place = f": {error.filename}" if error.filename else ""
        return (
            f"{error.strerror}{place}. Free some room or choose a place that you may write to; what was finished "
            "before is kept",
            2,
        )
    return (
        f"unexpected {type(error).__name__}: {error}. Put --debug behind the command to see where; "
        "what was finished before is kept",
        1,
    )


def _run(words: list[str]) -> int | None:
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"avcil {__version__}")
        return 0
    verb, *rest = words
    if verb not in VERBS:
        raise unknown_name("verb", verb, VERBS)
    from avcil.cli.parse import parse

    module = importlib.import_module(f"avcil.cli.{verb.replace('-', '_')}")
    return module.run(parse(verb, module.Args, rest))
