"""avcil serve: serve a model as a web page and an HTTP API."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from avcil.cli.rejection_options import RejectionOptions
from avcil.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Args(RejectionOptions):
    """Serve a model as a web page and an HTTP API that predict clips, add classes and undo updates. MODEL itself
    never changes."""

    model: Annotated[Path, tyro.conf.Positional]
    """A finished run directory, or a model folder."""
    host: str = "127.0.0.1"
    """Address to listen on. With an address that is not local, other machines can connect: set a password."""
    allowed_host: tuple[str, ...] = ()
    """Accepted host names of requests, such as clips.example.org, if a proxy forwards them."""
    port: int = 7860
    """Port to listen on. 0 selects a free port."""
    state_dir: Path | None = None
    """Folder for changes of the model. Default: MODEL.taught."""
    max_upload: str = "200MB"
    """Maximum size of one upload."""
    max_seconds: float = 120.0
    """Maximum duration of one clip, in seconds."""
    max_clips: int = 50
    """Maximum number of clips in one update."""
    workers: int = 2
    """Number of clips predicted at the same time."""
    max_queue: int = 256
    """Maximum number of clips waiting for a worker. Further requests receive HTTP 503 with Retry-After."""
    password_file: Path | None = None
    """File with the password of page and API. Alternatively, set the environment variable AVCIL_PASSWORD."""
    read_only: bool = False
    """Do not let clients change the model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.port <= 65535:
            raise InputError(f"--port must be from 0 to 65535; not {self.port}")
        for name in self.allowed_host:
            if not name or set("/:@ ") & set(name):
                raise InputError(f"--allowed-host needs a host name, such as clips.example.org; not {name!r}")
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
    from avcil.serve.limits import ServeLimits
    from avcil.utils.byte_sizes import parse_bytes

    password = read_password(args.password_file)
    limits = ServeLimits(
        upload_bytes=parse_bytes(args.max_upload),
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
        args.model,
        host=args.host,
        port=args.port,
        state_dir=args.state_dir,
        limits=limits,
        read_only=args.read_only,
        names=[name.lower() for name in args.allowed_host],
        password=password,
        rejection=args.rejection(),
    )
