"""BLADE as a scikit-learn classifier. Needs the extra [sklearn].

n samples, M features in B blocks, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import torch

from avcil.closed_form.block_discriminant import BladeStatistics, BlockDiscriminant
from avcil.closed_form.head import ClosedFormHead
from avcil.errors import InputError

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"avcil.Blade needs scikit-learn ({error}). Install it with: pip install 'avcil[sklearn]'",
        name=error.name,
    ) from None


@dataclass(frozen=True, kw_only=True)
class _Modality:
    """Blocks of features that are next to each other."""

    sizes: list[int]
    """Number of features of each block."""
    prior_psi: list[float]
    """Of each block."""


class _Solution:
    """Lazily computed classifier, so that repeated calls of `partial_fit` do not solve each time."""

    def __init__(self, statistics: BladeStatistics, modalities: list[_Modality]) -> None:
        self._statistics, self._modalities = statistics, modalities

    @cached_property
    def blocks(self) -> BlockDiscriminant:
        """The discriminant of the statistics."""
        moments = self._statistics.moments.values()
        widths = [own.width for own in moments]
        columns = torch.split(torch.arange(sum(widths)), widths)
        return BlockDiscriminant.sum(
            [
                BlockDiscriminant.fit(part, sizes=own.sizes, prior_psi=own.prior_psi, columns=at)
                for part, own, at in zip(moments, self._modalities, columns, strict=True)
            ]
        )

    @cached_property
    def head(self) -> ClosedFormHead:
        """The calibrated head."""
        return self.blocks.head(self._statistics.sample)


class Blade(ClassifierMixin, BaseEstimator):
    """Linear discriminant analysis with block penalties and shrunk class means, for incremental learning.

    The scores also use leave-one-out predictions (`closed_form.prediction_discriminant`).

    The estimator stores sums over samples. So calls of `partial_fit` in any order, even one class at a time, and
    `merge` of estimators give the same classifier as `fit` on all samples, up to rounding. Features need no scaling.
    All classes have the same prior probability.

    Args:
        blocks: Column ranges (start, stop) of the blocks of features, such as ((0, 148), (148, 404)), in order and
            without gaps. Each block has its own penalty, so that a block without information has no weight. None: one
            block.
        modalities: The modality of each block, as any name, such as ("audio", "visual", "visual"); blocks of a modality
            are next to each other. Features of different modalities count as independent given the class: the
            penalties of each modality are chosen without the others, and its scores are added to theirs. None: one
            modality.
        prior_psi: Prior value of the variance of class means relative to the variance within classes; a number, or one
            for each block. Its weight is that of ten samples beyond the first of each class.
        calibration_samples: Size of the random sample of feature vectors that is stored to calibrate `predict_proba`
            and `p_values`; the weights do not depend on it.

    Attributes:
        classes_: (C,), sorted.
        n_features_in_: M.
        feature_names_in_: (M,), if X has column names.
        penalties_: (B,), penalty of each block.
        psi_: (B,), estimated variance of class means relative to the variance within classes.

    >>> import numpy as np
    >>> X = np.array([[0.0, 0.1], [0.2, 0.0], [2.0, 2.1], [2.2, 1.9]])
    >>> blade = Blade().partial_fit(X[:2], ["low", "low"]).partial_fit(X[2:], ["high", "high"])
    >>> blade.predict([[2.1, 2.1], [0.1, 0.0]]).tolist()
    ['high', 'low']
    """

    def __init__(
        self,
        *,
        blocks: Sequence[tuple[int, int]] | None = None,
        modalities: Sequence[str] | None = None,
        prior_psi: float | Sequence[float] = 0.5,
        calibration_samples: int = 512,
    ) -> None:
        self.blocks = blocks
        self.modalities = modalities
        self.prior_psi = prior_psi
        self.calibration_samples = calibration_samples

    def fit(self, X: Any, y: Any) -> Blade:
        """Learn samples; earlier ones are discarded.

        Args:
            X: (n, M), finite numbers.
            y: (n,), classes: numbers or strings.

        Raises:
            ValueError: X, y or a parameter is invalid.
        """
        return self._learn(X, y, None, first=True)

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Blade:
        """Learn more samples, of new classes or of known ones.

        Args:
            X: (n, M), finite numbers.
            y: (n,), classes.
            classes: Optional list of classes, in any call. A class without samples has probability 0.

        Raises:
            ValueError: X or y is invalid, or y has a class that is not in `classes`.
        """
        return self._learn(X, y, classes, first=not hasattr(self, "_statistics"))

    def _learn(self, X: Any, y: Any, classes: Any, *, first: bool) -> Blade:
        X, y = validate_data(self, X, y, reset=first, dtype=np.float64)
        check_classification_targets(y)
        structure = self._structure_of_blocks()
        names = np.unique(y)
        if classes is not None:
            classes = np.unique(classes)
            if not np.isin(names, classes).all():
                raise InputError(f"y has classes that `classes` lacks: {np.setdiff1d(names, classes)[:5]}")
            names = classes
        if first:
            widths = {str(number): sum(own.sizes) for number, own in enumerate(structure)}
            self._statistics = BladeStatistics(widths, calibration_clips=self._sample_size())
            self._structure, self.classes_ = structure, names[:0]
        elif structure != self._structure:
            raise InputError(
                "blocks, modalities and prior_psi must not change between calls of partial_fit; call fit"
            )
        self._add_classes(names)
        self._statistics.add(torch.tensor(X), torch.from_numpy(np.searchsorted(self.classes_, y)))
        self._solution = _Solution(self._statistics, self._structure)
        return self

    def merge(self, other: Blade) -> Blade:
        """Add all samples of another estimator; equal class names are the same class.

        Args:
            other: A fitted estimator with the same features, blocks, modalities and prior_psi; not modified.

        Raises:
            ValueError: The estimators are incompatible.
        """
        check_is_fitted(self)
        check_is_fitted(other)
        if self._structure != other._structure:
            one, two = (
                [(part.sizes, part.prior_psi) for part in estimator._structure] for estimator in (self, other)
            )
            raise InputError(
                "only estimators with the same blocks, modalities and prior_psi can be merged; these have modalities "
                f"with blocks of these sizes and prior_psi: {one} and {two}"
            )
        names: list[Sequence[str] | None] = [
            getattr(estimator, "feature_names_in_", None) for estimator in (self, other)
        ]
        given = [list(columns) for columns in names if columns is not None]
        if len(given) == 2 and given[0] != given[1]:
            raise InputError("the features of the two estimators have different names")
        self._statistics.merge(other._statistics, self._add_classes(other.classes_))
        self._solution = _Solution(self._statistics, self._structure)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class (n,) of samples X (n, M)."""
        scores = self._scores(X)
        predicted: np.ndarray = self.classes_[scores.argmax(axis=1)]
        return predicted

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (n, C) of samples X (n, M), columns as in `classes_`."""
        scores = self._scores(X)
        exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities: np.ndarray = exponentials / exponentials.sum(axis=1, keepdims=True)
        return probabilities

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores (n, C) of samples X (n, M); their softmax gives the probabilities.

        With two classes, (n,): the score of the second minus that of the first. A class without samples has score -inf.
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def p_values(self, X: Any) -> np.ndarray:
        """p-values (n,) of samples X (n, M): (1 + a) / (1 + k).

        a of the k samples of the calibration sample have a nonconformity score at least as large as the sample. The
        score is the distance to the nearest class mean minus the distance to the mean of all samples
        (`closed_form.discriminant.relative_distance`); scores of the calibration sample are leave-one-out. Small values
        indicate an unknown class. All p-values are 1 if no class has two samples.
        """
        z = self._scaled(X)
        p_values = self._solution.head.p_values(z)
        assert p_values is not None
        return p_values.numpy()

    @property
    def penalties_(self) -> np.ndarray:
        """See the attributes of the class."""
        return np.array(self._solution.blocks.penalties)

    @property
    def psi_(self) -> np.ndarray:
        """See the attributes of the class."""
        return np.array(self._solution.blocks.psi)

    def _scores(self, X: Any) -> np.ndarray:
        z = self._scaled(X)
        scores = self._solution.head.scores(z)
        return scores.masked_fill(self._statistics.complete_counts == 0, -torch.inf).numpy()

    def _scaled(self, X: Any) -> torch.Tensor:
        """z (n, M)"""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return self._solution.blocks.scaled(torch.tensor(X))

    def _add_classes(self, names: np.ndarray) -> torch.Tensor:
        """Add new classes among `names` to `classes_`, which remains sorted; return the number of each name."""
        if len(self.classes_) and (names.dtype.kind in "OSU") != (self.classes_.dtype.kind in "OSU"):
            raise InputError(f"classes are {self.classes_[:3]} so far; {names[:3]} have another type")
        classes = np.union1d(self.classes_, names)
        if len(classes) > len(self.classes_):
            numbers = torch.from_numpy(np.searchsorted(classes, self.classes_))
            self._statistics.renumber(numbers, len(classes))
            self.classes_ = classes
        return torch.from_numpy(np.searchsorted(classes, names))

    def _structure_of_blocks(self) -> list[_Modality]:
        """The blocks of each modality."""
        sizes, prior_psi = self._block_sizes(), self._block_priors()
        modalities = ["all"] * len(sizes) if self.modalities is None else list(self.modalities)
        groups = [list(own) for _, own in groupby(range(len(modalities)), key=modalities.__getitem__)]
        if len(modalities) != len(sizes) or len(groups) != len(set(modalities)):
            raise InputError(
                f"modalities must be {len(sizes)} names, one for each block, with equal names next to each other; not "
                f"{modalities}"
            )
        return [
            _Modality(sizes=[sizes[at] for at in own], prior_psi=[prior_psi[at] for at in own])
            for own in groups
        ]

    def _block_sizes(self) -> list[int]:
        if self.blocks is None:
            return [self.n_features_in_]
        edges = [0, *(stop for _, stop in self.blocks)]
        starts = [start for start, _ in self.blocks]
        sizes = [stop - start for start, stop in self.blocks]
        if starts != edges[:-1] or edges[-1] != self.n_features_in_ or min(sizes, default=0) < 1:
            raise InputError(
                f"blocks must be consecutive ranges (start, stop) from 0 to the number of features, "
                f"{self.n_features_in_}; not {list(self.blocks)}"
            )
        return sizes

    def _block_priors(self) -> list[float]:
        count = 1 if self.blocks is None else len(self.blocks)
        prior_psi = self.prior_psi
        values = list(prior_psi) if isinstance(prior_psi, Iterable) else [prior_psi] * count
        if len(values) != count or not all(np.isfinite(value) and value > 0 for value in values):
            raise InputError(
                f"prior_psi must be a number above 0, or {count}, one for each block; not {self.prior_psi}"
            )
        return [float(value) for value in values]

    def _sample_size(self) -> int:
        if not (isinstance(self.calibration_samples, int | np.integer) and self.calibration_samples >= 0):
            raise InputError(
                f"calibration_samples must be a whole number of 0 or more; not {self.calibration_samples!r}"
            )
        return int(self.calibration_samples)
