"""The command `avcil`: parses the command line, runs the command, and prints errors.

Large packages are imported by the commands that need them, so that help is fast.
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

COMMANDS = {
    "demo": "run every step on rendered clips, in minutes",
    "scan": "list the clips in a folder and assign them to splits",
    "extract": "compute the features of listed clips",
    "features": "show, verify, compare or join feature stores",
    "train": "train a model on extracted features, step by step",
    "reproduce": "train several methods and seeds in parallel and print tables of results",
    "predict": "predict the classes of clips, or timelines of long videos",
    "learn": "add classes to a saved model",
    "merge": "combine saved models of blade into one",
    "rename": "rename classes of a saved model",
    "forget": "remove classes or clips from a saved model",
    "serve": "serve a model as a web page and an HTTP API",
    "export": "export a saved model to ONNX",
    "report": "write an HTML report that compares runs",
    "benchmark": "list, show or fetch the published benchmarks; evaluate with VGGSounder",
    "import-features": "import the features that the authors of AV-CIL released",
    "methods": "list the methods and their options",
    "streams": "list the orders in which clips can arrive, and their options",
    "encoders": "list the encoders: license, size, speed on this machine, intended use",
    "doctor": "check the installation",
}


class _Terminated(KeyboardInterrupt):
    """SIGTERM was received; code that handles Ctrl-C also handles this."""


def usage() -> str:
    """The list of commands."""
    width = max(map(len, COMMANDS))
    lines = [f"  {command:<{width}}  {summary}" for command, summary in COMMANDS.items()]
    return "\n".join(
        [
            "avcil: audio-visual class-incremental learning",
            "",
            "usage: avcil COMMAND [options]        avcil COMMAND --help shows the options of a command",
            "",
            *lines,
            "",
            "--config FILE, with any command, reads options from a TOML file. --debug shows the traceback of an error.",
            "avcil --version prints the version.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with 0 for success, 2 for invalid input, 1 for a failure, 130 after Ctrl-C, 143
    after SIGTERM."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = words[: words.index("--")] if "--" in words else words
    debug = "--debug" in options
    if debug:
        words.remove("--debug")
    with _sigterm_as_exception():
        code = _exit_code(words, debug=debug)
    sys.exit(code)


@contextmanager
def _sigterm_as_exception() -> Iterator[None]:
    """Raise `_Terminated` in the main thread on SIGTERM, unless SIGTERM is already handled or ignored."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Terminated

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


def _exit_code(words: list[str], *, debug: bool) -> int:
    """Run a command and return its exit code. An error is printed in one line, with `debug` also its traceback."""
    prepare_streams()
    try:
        try:
            code = _run(words) or 0
        except SystemExit:  # --help and invalid options
            sys.stdout.flush()
            raise
        sys.stdout.flush()
        return code
    except OutputError as error:
        if not error.is_broken_pipe:
            print(f"avcil: {error}", file=sys.stderr)
        return 0 if error.is_broken_pipe else error.exit_code
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        message, code = _message(error)
        with suppress(OutputError):
            sys.stdout.flush()
        print(f"avcil: {message}", file=sys.stderr)
        return code


def _message(error: BaseException) -> tuple[str, int]:
    """The message of an error, and the exit code."""
    if isinstance(error, AvcilError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        code = 128 + (signal.SIGTERM if isinstance(error, _Terminated) else signal.SIGINT)
        return "stopped. Run the same command again to resume", code
    if isinstance(error, ModuleNotFoundError) and not (error.name or "avcil").startswith("avcil"):
        return f"the package {error.name} is missing. python -m avcil.doctor shows how to install it", 1
    if isinstance(error, OSError) and is_storage_error(error):
        where = f": {error.filename}" if error.filename else ""
        return (
            f"{error.strerror}{where}. Free disk space, or choose a folder that you can write to; finished work is "
            "kept",
            2,
        )
    return (
        f"unexpected {type(error).__name__}{_place_in_method_file(error)}: {error}. Add --debug to the command to "
        "see the traceback; finished work is kept",
        1,
    )


def _place_in_method_file(error: BaseException) -> str:
    """Where the user's method file raised an error or called what raised it; empty for other errors."""
    from avcil.methods.registry import FILE_MODULE

    places = [
        f" in {frame.f_code.co_filename}, line {line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").startswith(FILE_MODULE)
    ]
    return places[-1] if places else ""


def _run(words: list[str]) -> int | None:
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"avcil {__version__}")
        return 0
    command, *rest = words
    if command not in COMMANDS:
        raise unknown_name("command", command, COMMANDS)
    from avcil.cli.parse import parse

    module = importlib.import_module(f"avcil.cli.{command.replace('-', '_')}")
    return module.run(parse(command, module.Args, rest))
