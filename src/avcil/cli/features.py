"""`avcil features`: show, verify, compare or join feature stores."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg, subcommand

if TYPE_CHECKING:
    from avcil.features.compare import StoreComparison
    from avcil.features.join import JoinReport
    from avcil.features.show import StoreSummary
    from avcil.features.verify import Verification


@dataclass(frozen=True, kw_only=True)
class ShowStore:
    """Show the contents of a store: encoders and their weights, sampling, clips by class and split, failures."""

    store: Positional[Path]
    """The feature store."""
    json: bool = False
    """Print JSON."""

    def run(self) -> None:
        """Print it."""
        from avcil.features.show import summarize

        _print(summarize(self.store), as_json=self.json)


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Read all of a store and check checksums, finite values, empty features and, with --clips, missing clips. The exit
    code is 1 if it has errors."""

    store: Positional[Path]
    """The feature store."""
    clips: Path | None = None
    """A clip list that the store should cover."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Print the verdict."""
        from avcil.data.clips import read_clips
        from avcil.features.verify import verify

        found = verify(self.store, None if self.clips is None else read_clips(self.clips))
        _print(found, as_json=self.json)
        return 0 if found.is_intact else 1


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compute the cosine similarity of each clip's features in two stores, such as your own and the released
    features."""

    a: Positional[Path]
    """A feature store."""
    b: Positional[Path]
    """Another feature store with clips of the same ids."""
    out: Path | None = None
    """Write the similarity of every clip to this CSV file."""
    json: bool = False
    """Print JSON."""

    def run(self) -> None:
        """Print the summary."""
        from avcil.features.compare import compare

        found = compare(self.a, self.b)
        if self.out is not None:
            found.write_csv(self.out)
        _print(found, as_json=self.json)


@dataclass(frozen=True, kw_only=True)
class Join:
    """Copy the clips of several stores into a new one. Clip ids get the folder name of their store as a prefix."""

    stores: Positional[tuple[Path, ...]]
    """Feature stores that were made with the same encoders."""
    out: Path
    """The new store. The same command continues an interrupted copy."""
    json: bool = False
    """Print JSON."""

    def run(self) -> None:
        """Print how many clips were copied from each store."""
        from avcil.features.join import join

        _print(join(self.stores, self.out), as_json=self.json)


@dataclass(frozen=True, kw_only=True)
class Args:
    """Show, verify, compare or join feature stores."""

    action: Annotated[
        Annotated[ShowStore, subcommand("show")]
        | Annotated[Verify, subcommand("verify")]
        | Annotated[Compare, subcommand("compare")]
        | Annotated[Join, subcommand("join")],
        arg(name=""),  # the options of an action are not a group with a title
    ]


def run(args: Args) -> int | None:
    """Run the selected action."""
    return args.action.run()


def _print(found: StoreSummary | Verification | StoreComparison | JoinReport, *, as_json: bool) -> None:
    print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False) if as_json else found.text())
