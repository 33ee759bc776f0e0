"""A store whose training clips have another recording condition than its validation and test clips.

    python benchmarks/condition_store.py TRAIN EVALUATION OUT

Copies the training clips of the store TRAIN, and the validation and test clips of the store EVALUATION, into OUT. Both
stores must have the same encoders, such as words without and with noise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from avcil.features import FeatureStore, FeatureWriter


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("train", "evaluation", "out"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    sources = {"train": FeatureStore(options.train)}
    sources |= dict.fromkeys(("val", "test"), FeatureStore(options.evaluation))
    with FeatureWriter(options.out, sources["train"].manifest) as writer:
        for split, store in sources.items():
            for row, clip in enumerate(store.clips):
                if clip.split == split:
                    features = {"visual": store.visual([row])[0], "audio": store.audio([row])[0]}
                    writer.add(clip.to_clip(clip.clip_id), **features)
    print(f"{len(FeatureStore(options.out).clips)} clips in {options.out}")


if __name__ == "__main__":
    main()
