"""Accuracy of BLADE and of scikit-learn's classifiers by number of training clips per class.

    python benchmarks/few_clips.py STORE [STORE ...] [--clips 1 2 3 5 8 16 24] [--draws 5] [--split test] [--out FILE]

By store, number of clips and draw of the training clips: BLADE trained on all classes at once, `--classes-per-step`
at a time, and one at a time (whose scores must be equal), and scikit-learn's classifiers on the same pooled feature
vectors, standardized with the training clips. The table has means over draws in percent; paired differences have
standard errors over the draws. The precision at the threshold for 95 % is the share of correct clips among the accepted
clips of all draws. Hyper-parameters were chosen on validation clips; `--split test` is for the final table.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.svm import SVC

from avcil.closed_form.thresholds import threshold_for_precision
from avcil.encoders.parts import part_widths
from avcil.features import FeatureStore
from avcil.methods.registry import load_method, parse_options

PENALTIES = [0.001, 0.01, 0.1, 1.0]
"""Values of C of logistic regression, selected by cross-validation."""


class Store:
    """A store's features, the clips of its splits, and the parts of its encoders."""

    def __init__(self, path: Path) -> None:
        store = FeatureStore(path)
        rows = np.arange(len(store.clips))
        self.audio = torch.from_numpy(store.audio(rows)).float()
        self.visual = torch.from_numpy(store.visual(rows)).float()
        labels = sorted({clip.label for clip in store.clips})
        self.labels = torch.tensor([labels.index(clip.label) for clip in store.clips])
        self.splits = np.array([clip.split for clip in store.clips])
        self.classes = len(labels)
        self.part_widths = part_widths(store)
        result = {name: store.constants(name) for name in ("audio", "visual")}
        self.constants = {name: constants for name, constants in result.items() if constants is not None}
        self.pooled = torch.cat(self.blade("audio-visual").pooled(self.audio, self.visual), dim=1).numpy()

    def blade(self, modality: str):
        """A new learner."""
        kind = load_method("blade")
        method = kind(parse_options(kind, (), name="blade"), modality=modality)
        method.part_widths, method.constants = self.part_widths, self.constants
        return method

    def draw(self, clips: int, seed: int) -> torch.Tensor:
        """Rows of `clips` training clips of each class, or of all if a class has fewer."""
        rng = np.random.default_rng(seed)
        own = [
            np.flatnonzero((self.splits == "train") & (self.labels.numpy() == c)) for c in range(self.classes)
        ]
        return torch.from_numpy(np.concatenate([rng.permutation(rows)[:clips] for rows in own]))


def trained(store: Store, rows: torch.Tensor, per_step: int, modality: str = "audio-visual"):
    """The model after steps of `per_step` classes."""
    return learned(store, rows, per_step, modality).solve()


def learned(store: Store, rows: torch.Tensor, per_step: int, modality: str = "audio-visual"):
    """The method after steps of `per_step` classes."""
    method = store.blade(modality)
    for first in range(0, store.classes, per_step):
        last = min(first + per_step, store.classes)
        method.add_classes(last - first)
        own = rows[(store.labels[rows] >= first) & (store.labels[rows] < last)]
        method.observe(store.audio[own], store.visual[own], store.labels[own])
        method.flush()
    return method


def other_classifiers(clips: int) -> dict[str, object]:
    """Classifiers of scikit-learn by name; those that need two or three clips per class only if there are enough."""
    result = {
        "nearest mean": NearestCentroid(),
        "1-NN": KNeighborsClassifier(1),
        "linear SVM": SVC(kernel="linear", C=0.01),
        "RBF SVM": SVC(C=10),
        "logistic": LogisticRegression(C=0.05, max_iter=300),
    }
    if clips > 1:
        result["LDA"] = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        folds = StratifiedKFold(min(clips, 3), shuffle=True, random_state=0)
        result["logistic"] = GridSearchCV(LogisticRegression(max_iter=300), {"C": PENALTIES}, cv=folds)
    return result


def accuracy_of_predictions(model, audio, visual, labels) -> float:
    """Accuracy in percent if a modality unlike all training clips is not used, as in `avcil predict`."""
    predicted = model.scores(audio, visual).argmax(dim=1)
    for modality, mask in model.outlying(audio, visual).items():
        if mask.any():
            rest = (None, visual[mask]) if modality.has_audio else (audio[mask], None)
            predicted[mask] = model.scores(*rest).argmax(dim=1)
    return 100 * float((predicted == labels).double().mean())


def accepted(method, scores, labels, precision: float) -> dict[str, float]:
    """Percentage of clips that are accepted with the threshold for a precision, and of those that are also correct.

    Nothing with one clip per class, because a model without this clip does not have the class.
    """
    left_out = method.leave_one_out("audio-visual")
    if left_out is None:
        return {}
    highest, predicted = scores.softmax(dim=1).max(dim=1)
    kept = highest >= threshold_for_precision(left_out[0].max(dim=1).values, precision)
    shares = {"": kept, " and correct": kept & (predicted == labels)}
    return {
        f"accepted{name} at {precision:.0%}": 100 * float(mask.double().mean())
        for name, mask in shares.items()
    }


def measure(
    store: Store, clips: int, seed: int, split: str, per_step: int, *, with_others: bool = True
) -> dict[str, float]:
    """Accuracy in percent by name."""
    rows, asked = store.draw(clips, seed), torch.from_numpy(np.flatnonzero(store.splits == split))
    audio, visual, labels = store.audio[asked], store.visual[asked], store.labels[asked]
    with torch.inference_mode():
        models = {step: trained(store, rows, step) for step in (store.classes, per_step, 1)}
        scores = {step: model.scores(audio, visual) for step, model in models.items()}
        result = {"BLADE": 100 * float((scores[1].argmax(dim=1) == labels).double().mean())}
        result["BLADE, outliers left out"] = accuracy_of_predictions(models[1], audio, visual, labels)
        result |= accepted(learned(store, rows, store.classes), scores[1], labels, 0.95)
        for modality, given in (("audio", (audio, None)), ("visual", (None, visual))):
            model = trained(store, rows, store.classes, modality)
            right = model.scores(*given).argmax(dim=1) == labels
            result[f"BLADE, {modality}"] = 100 * float(right.double().mean())
    largest = float(scores[1].abs().max())
    result["difference"] = max(
        float((scores[s] - scores[1]).abs().max()) / largest for s in (store.classes, per_step)
    )
    x, y = store.pooled[rows], store.labels[rows].numpy()
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    deviation[deviation == 0] = 1
    for name, other in other_classifiers(clips).items() if with_others else ():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            other.fit((x - mean) / deviation, y)
        result[name] = 100 * other.score((store.pooled[asked] - mean) / deviation, labels.numpy())
    return result


def main() -> None:
    """Print a table for each store, with a row for each number of clips."""
    parser = argparse.ArgumentParser()
    parser.add_argument("stores", nargs="+", type=Path)
    parser.add_argument("--clips", nargs="+", type=int, default=[1, 2, 3, 5, 8, 16, 24])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--split", choices=["val", "test"], default="val")
    parser.add_argument("--classes-per-step", type=int, default=3)
    parser.add_argument("--only-blade", action="store_true", help="only BLADE")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for path in arguments.stores:
        store, start = Store(path), time.monotonic()
        most = int(torch.bincount(store.labels[torch.from_numpy(store.splits == "train")]).max())
        for clips in [count for count in arguments.clips if count <= most]:
            runs = [
                measure(
                    store,
                    clips,
                    seed,
                    arguments.split,
                    arguments.classes_per_step,
                    with_others=not arguments.only_blade,
                )
                for seed in range(arguments.draws)
            ]
            table = defaultdict(list)
            for run in runs:
                for name, value in run.items():
                    table[name].append(value)
            means = {name: float(np.mean(values)) for name, values in table.items()}
            if means.get("accepted at 95%"):
                share = means["accepted and correct at 95%"] / means["accepted at 95%"]
                means["precision at 95%"] = 100 * share
            results.setdefault(path.name, {})[clips] = means
            print(
                path.name, clips, {name: float(f"{value:.3g}") for name, value in means.items()}, flush=True
            )
            compared = ["BLADE, audio", *(() if arguments.only_blade else other_classifiers(clips))]
            for name in compared if arguments.draws > 1 else ():
                gain = np.subtract(table["BLADE"], table[name])
                error = gain.std(ddof=1) / arguments.draws**0.5
                print(f"  BLADE minus {name}: {gain.mean():.2f}, standard error {error:.2f}", flush=True)
        print(f"{path.name}: {time.monotonic() - start:.0f} s", flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
