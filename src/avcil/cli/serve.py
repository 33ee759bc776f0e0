"""avcil serve: a recognizer as a page for people and an HTTP API for programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from avcil.cli.rejection_words import check_rejection, rejection_of
from avcil.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Args:
    """Serve a recognizer: ask it about clips, teach it classes, undo. The given run is never changed."""

    run: Annotated[Path, tyro.conf.Positional]
    """A finished run directory, or a model's folder."""
    host: str = "127.0.0.1"
    """Address to listen at; any but this machine's own lets others in: set a password then."""
    allowed_host: tuple[str, ...] = ()
    """Host names that requests may be for, as in clips.example.org, when a proxy on this machine hands them on."""
    port: int = 7860
    """Port to listen at; 0 takes a free one."""
    state_dir: Path | None = None
    """Folder for what it is taught; RUN.taught beside the run if not given."""
    max_upload: str = "200MB"
    """Size of one upload at most."""
    max_seconds: float = 120.0
    """Length of one clip at most."""
    max_clips: int = 50
    """Clips of one teaching at most."""
    workers: int = 2
    """Clips that are answered at once."""
    max_queue: int = 256
    """Clips that may wait for a worker; more are rejected with status 503."""
    password_file: Path | None = None
    """File with the password that page and API ask for; or set the environment variable AVCIL_PASSWORD."""
    read_only: bool = False
    """Let nobody teach."""
    error_rate: float = 0.05
    """Report a clip as possibly of an unknown class if at most this share of clips of known classes is as unusual."""
    threshold: tuple[str, ...] = ()
    """CLASS=PROBABILITY, as in doorbell=0.8: report a clip as possibly of an unknown class where CLASS is its most
    probable class with a smaller probability."""
    precision: float | None = None
    """Choose a threshold for each other class, such that this share of its predictions is right, as in 0.95; estimated
    from leave-one-out predictions of the model's calibration sample. Only models of blade have one."""

    def __post_init__(self) -> None:
        check_rejection(self.error_rate, self.threshold, self.precision)
        if not 0 <= self.port <= 65535:
            raise InputError(f"--port must lie from 0 to 65535; not {self.port}")
        for name in self.allowed_host:
            if not name or set("/:@ ") & set(name):
                raise InputError(f"--allowed-host takes a host's name, as in clips.example.org; not {name!r}")
        if not self.max_seconds > 0:
            raise InputError(f"--max-seconds must be above 0; not {self.max_seconds}")
        for name, least in (("max_clips", 1), ("workers", 1), ("max_queue", 0)):
            if getattr(self, name) < least:
                raise InputError(
                    f"--{name.replace('_', '-')} must be {least} or more; not {getattr(self, name)}"
                )


def run(args: Args) -> None:
    """Serve until stopped."""
    from avcil.serve.authentication import read_password
    from avcil.serve.limits import Limits
    from avcil.utils.sizes import bytes_of

    password = read_password(args.password_file)
    limits = Limits(
        upload_bytes=bytes_of(args.max_upload),
        seconds=args.max_seconds,
        clips=args.max_clips,
        workers=args.workers,
        waiting=args.max_queue,
    )
    try:
        from avcil.serve.server import serve
    except ModuleNotFoundError as error:
        raise InputError(
            f"avcil serve needs the package {error.name}: pip install 'avcil[serve]', then run the command again"
        ) from None
    serve(
        args.run,
        host=args.host,
        port=args.port,
        work=args.state_dir,
        limits=limits,
        read_only=args.read_only,
        names=[name.lower() for name in args.allowed_host],
        password=password,
        rejection=rejection_of(args.error_rate, args.threshold, args.precision),
    )
