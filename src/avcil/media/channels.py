"""Mixing audio channels to mono, and handling of channels that cancel.

Shapes: n samples, C channels.

The mix is the mean of the channels. Uncorrelated channels with energies E_1 ... E_C give a mix of energy (E_1 + ... +
E_C) / C^2, and so does a single channel among silent ones. Ordinary recordings have at least about this energy, since
channels are positively correlated. If one channel is inverted (a wrongly wired microphone, a "karaoke" mix), the mix
loses nearly all energy. A mix below `CANCELLED` of the energy above is not used: for two channels of equal level, that
is a correlation below -0.8, or a mix below a tenth of a channel's energy. A channel that is inverted at less than half
the level of the other one is averaged: the mix is then the stronger channel at a quarter of its level or more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

SILENCE = 1e-5
"""Peaks below this (-100 dB) count as silence: less than the resolution of 16-bit samples."""
CANCELLED = 0.2
"""Channels cancel if the mix has less than this fraction of the energy for uncorrelated channels."""


class ChannelsCancel(Exception):
    """The channels cancel in the mix; `strongest` maps a number of channels to the channel to use."""

    def __init__(self, strongest: Mapping[int, int]) -> None:
        super().__init__()
        self.strongest = dict(strongest)


class Channels:
    """Mixes channels, and measures the energy that the mix loses.

    Args:
        strongest: Maps a number of channels to the channel to use; empty to average them.
    """

    def __init__(self, strongest: Mapping[int, int]) -> None:
        self._strongest = strongest
        self._energy: dict[int, np.ndarray] = defaultdict(lambda: np.zeros(1))
        self._mixed = 0.0
        self._count = 0

    def mixed(self, samples: np.ndarray) -> np.ndarray:
        """Mono samples (n,) float32 from samples (n, C)."""
        if self._strongest:
            return samples[:, self._strongest[samples.shape[1]]].copy()
        return samples.mean(axis=1, dtype=np.float32)

    def measure(self, samples: np.ndarray, mix: np.ndarray) -> None:
        """Accumulate the energies of the channels (n, C) and of their mix (n,)."""
        if self._strongest:
            return
        energy = np.square(samples, dtype=np.float64).sum(axis=0)
        self._energy[samples.shape[1]] = self._energy[samples.shape[1]] + energy
        self._mixed += float(np.square(mix, dtype=np.float64).sum())
        self._count += len(mix)

    def check(self) -> None:
        """Raise `ChannelsCancel` if the mix lost most of the energy."""
        unrelated = sum(float(energy.sum()) / count**2 for count, energy in self._energy.items())
        loudest = max((float(energy.max()) for energy in self._energy.values()), default=0.0)
        if loudest > SILENCE**2 * self._count and self._mixed < CANCELLED * unrelated:
            raise ChannelsCancel({count: int(energy.argmax()) for count, energy in self._energy.items()})

    def problems(self) -> tuple[str, ...]:
        """Problems of the mix, as sentences."""
        return tuple(
            f"the {count} channels cancel each other out (one may be inverted); only channel {index + 1} is used"
            for count, index in self._strongest.items()
            if count > 1
        )
