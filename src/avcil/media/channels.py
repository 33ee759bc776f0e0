"""Channels of sound mixed to one, and what to do where they cancel.

Shapes: n samples, C channels.

The mix is the mean of the channels. Unrelated channels with energies E_1 ... E_C mix to (E_1 + ... + E_C) / C^2, and so
does a single channel among silent ones. Ordinary recordings stay near that or above it, because what is heard in
several channels adds up. Where one channel is inverted (a wrongly wired microphone, a "karaoke" mix), the mix loses
nearly everything. Below `CANCELLED` of that energy the mix is not used: for two channels of equal level this is a
correlation below -0.8, a mix below a tenth of a channel's energy. A channel that is inverted at less than half the
level of the other is averaged with it: the mix then is the stronger channel at a quarter of its level or more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

SILENCE = 1e-5
"""Peaks below this (-100 dB) are silence: less than a 16-bit sample can hold."""
CANCELLED = 0.2
"""Channels cancel where the mix has less than this part of the energy that unrelated channels would leave in it."""


class ChannelsCancel(Exception):
    """The channels of a sound cancel in the mix; `strongest` is the channel to use, by number of channels."""

    def __init__(self, strongest: Mapping[int, int]) -> None:
        super().__init__()
        self.strongest = dict(strongest)


class Channels:
    """Mixes channels, and measures what the mix loses.

    Args:
        strongest: By number of channels, the one that is used alone; empty to average them.
    """

    def __init__(self, strongest: Mapping[int, int]) -> None:
        self._strongest = strongest
        self._energy: dict[int, np.ndarray] = defaultdict(lambda: np.zeros(1))
        self._mixed = 0.0
        self._count = 0

    def mixed(self, samples: np.ndarray) -> np.ndarray:
        """One channel (n,) float32 of samples (n, C)."""
        if self._strongest:
            return samples[:, self._strongest[samples.shape[1]]].copy()
        return samples.mean(axis=1, dtype=np.float32)

    def measure(self, samples: np.ndarray, mix: np.ndarray) -> None:
        """Add up the energies of the channels (n, C) and of their mix (n,)."""
        if self._strongest:
            return
        energy = np.square(samples, dtype=np.float64).sum(axis=0)
        self._energy[samples.shape[1]] = self._energy[samples.shape[1]] + energy
        self._mixed += float(np.square(mix, dtype=np.float64).sum())
        self._count += len(mix)

    def check(self) -> None:
        """Raise `ChannelsCancel` if the mix lost most of the sound."""
        unrelated = sum(float(energy.sum()) / count**2 for count, energy in self._energy.items())
        loudest = max((float(energy.max()) for energy in self._energy.values()), default=0.0)
        if loudest > SILENCE**2 * self._count and self._mixed < CANCELLED * unrelated:
            raise ChannelsCancel({count: int(energy.argmax()) for count, energy in self._energy.items()})

    def problems(self) -> tuple[str, ...]:
        """What is to be said of the mix."""
        return tuple(
            f"the {count} channels cancel each other out (one may be inverted); only channel {index + 1} is used"
            for count, index in self._strongest.items()
            if count > 1
        )
