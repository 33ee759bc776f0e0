"""Metrics of an accuracy matrix, one function per definition.

Toolkits use one name for different numbers ("forgetting" has four definitions). Here each definition has its own
name. Results have the unit of `R`, fractions or percent.

Shapes: `R` (K, K) is the accuracy matrix of K steps: `R[s, i]` is the accuracy after step s on the test clips of
the classes of step i. Only the lower triangle is used; cells of classes not yet seen are NaN. `n` (K,) is the number
of test clips of each step's classes. In some streams a step has no test clips of its own: its n is 0, its column is
NaN, and metrics leave it out. Metrics of single predictions (class means, confusion, calibration) are in
predictions.py.

Forgetting and backward transfer compare a step with a later one. With a single step they are undefined and None, not
0, which would mean that nothing was forgotten.

>>> R = [[60, NAN, NAN, NAN],
...      [70, 80, NAN, NAN],
...      [65, 85, 90, NAN],
...      [75, 50, 70, 88]]
>>> n = [100, 100, 100, 50]
>>> round(average_incremental_accuracy(R, n), 2), round(forgetting(R), 2), round(mean_forgetting(R), 2)
(70.82, 16.67, 2.22)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from avcil.errors import InputError

NAN = float("nan")


def accuracy_per_step(R: ArrayLike, n: ArrayLike) -> list[float]:
    """Accuracy after each of the K steps on the test clips of all classes seen: sum_i n_i R[s,i] / sum_i n_i (AV-CIL).

    >>> [round(value, 3) for value in accuracy_per_step([[0.9, NAN], [0.5, 0.8]], [30, 10])]
    [0.9, 0.575]
    """
    R, n = checked(R, n)
    R = np.where(n > 0, R, 0.0)
    return [float(n[: s + 1] @ R[s, : s + 1] / n[: s + 1].sum()) for s in range(len(R))]


def accuracy_per_step_task_mean(R: ArrayLike) -> list[float]:
    """Unweighted mean over the tasks seen, mean_i R[s,i], after each of the K steps."""
    R = _matrix(R)
    return [float(R[s, _tested(R, s + 1)].mean()) for s in range(len(R))]


def average_incremental_accuracy(R: ArrayLike, n: ArrayLike) -> float:
    """Mean over the steps of `accuracy` (iCaRL, Rebuffi et al. 2017; also in PyCIL and continuum)."""
    return float(np.mean(accuracy_per_step(R, n)))


def average_incremental_accuracy_task_mean(R: ArrayLike) -> float:
    """Mean over the steps of the unweighted mean over tasks (as in LibContinual and FACIL)."""
    return float(np.mean(accuracy_per_step_task_mean(R)))


def last_accuracy(R: ArrayLike, n: ArrayLike) -> float:
    """`accuracy` after the last step."""
    return accuracy_per_step(R, n)[-1]


def last_accuracy_task_mean(R: ArrayLike) -> float:
    """Unweighted mean over the tasks after the last step."""
    return accuracy_per_step_task_mean(R)[-1]


def forgetting(R: ArrayLike) -> float | None:
    """Best accuracy before the last step minus that after it, mean over earlier tasks (Chaudhry et al. 2018).

    mean_{i<s} (max_{i<=r<s} R[r,i] - R[s,i]) at the last step s; negative where accuracy rose.
    None for one step.
    """
    R = _matrix(R)
    return _forgetting_at(R, len(R) - 1) if len(R) > 1 else None


def mean_forgetting(R: ArrayLike) -> float | None:
    """Mean over the steps s >= 1 of `forgetting` at s ("average forgetting" of AV-CIL). None for one step."""
    R = _matrix(R)
    return float(np.mean([_forgetting_at(R, s) for s in range(1, len(R))])) if len(R) > 1 else None


def _forgetting_at(R: np.ndarray, s: int) -> float:
    return float(np.mean([R[i:s, i].max() - R[s, i] for i in _tested(R, s)]))


def _tested(R: np.ndarray, count: int) -> list[int]:
    """Those of the first `count` tasks that have test clips."""
    return [i for i in range(count) if not np.isnan(R[i, i])]


def forgetting_all_max(R: ArrayLike) -> float | None:
    """Best accuracy of all steps including the last, minus the last, mean over earlier tasks (PyCIL, mammoth).

    Never negative. None for one step.
    """
    R = _matrix(R)
    last = len(R) - 1
    return float(np.mean([R[i:, i].max() - R[last, i] for i in _tested(R, last)])) if last else None


def forgetting_first(R: ArrayLike) -> float | None:
    """Accuracy after a task's own step minus that after the last step, mean over earlier tasks (avalanche)."""
    transfer = backward_transfer(R)
    return None if transfer is None else -transfer


def backward_transfer(R: ArrayLike) -> float | None:
    """mean_{i<s} (R[s,i] - R[i,i]) at the last step s (GEM, Lopez-Paz and Ranzato 2017).

    None for one step.
    """
    R = _matrix(R)
    last = len(R) - 1
    tested = _tested(R, last)
    return float(np.mean(R[last, tested] - R.diagonal()[tested])) if last else None


def backward_transfer_all(R: ArrayLike) -> float | None:
    """Mean of R[s,i] - R[i,i] over the strict lower triangle, i < s (continuum, CapyMOA).

    None for one step.
    """
    R = _matrix(R)
    s, i = np.tril_indices(len(R), -1)
    return float(np.nanmean(R[s, i] - R[i, i])) if len(R) > 1 else None


def accuracy_lower_triangle(R: ArrayLike) -> float:
    """Mean of the lower triangle including the diagonal ("accuracy A" of continuum)."""
    R = _matrix(R)
    return float(np.nanmean(R[np.tril_indices(len(R))]))


def intransigence(R: ArrayLike, joint: ArrayLike) -> float:
    """Accuracy on new classes that joint training has more: mean over steps of J[s,s] - R[s,s].

    `joint` J (K, K) is the accuracy matrix of joint training on the same benchmark, where step s trains on all clips
    of the steps up to s (Chaudhry et al. 2018 define it for one step).

    >>> round(intransigence([[0.9, NAN], [0.5, 0.8]], [[0.9, NAN], [0.8, 1.0]]), 3)
    0.1
    """
    R, joint = _matrix(R), _matrix(joint)
    if R.shape != joint.shape:
        raise InputError(
            f"intransigence compares runs of one benchmark, but the joint run has {len(joint)} steps and this "
            f"one {len(R)}. Give a joint run with the same steps"
        )
    return float(np.nanmean(joint.diagonal() - R.diagonal()))


def all_metrics(R: ArrayLike, n: ArrayLike, joint: ArrayLike | None = None) -> dict[str, Any]:
    """All metrics of this module by name, as JSON values. `intransigence` is None without `joint`."""
    return {
        "accuracy_per_step": accuracy_per_step(R, n),
        "accuracy_per_step_task_mean": accuracy_per_step_task_mean(R),
        "average_incremental_accuracy": average_incremental_accuracy(R, n),
        "average_incremental_accuracy_task_mean": average_incremental_accuracy_task_mean(R),
        "last_accuracy": last_accuracy(R, n),
        "last_accuracy_task_mean": last_accuracy_task_mean(R),
        "forgetting": forgetting(R),
        "mean_forgetting": mean_forgetting(R),
        "forgetting_all_max": forgetting_all_max(R),
        "forgetting_first": forgetting_first(R),
        "backward_transfer": backward_transfer(R),
        "backward_transfer_all": backward_transfer_all(R),
        "accuracy_lower_triangle": accuracy_lower_triangle(R),
        "intransigence": None if joint is None else intransigence(R, joint),
        # Undefined in class-incremental learning: classes not yet seen have no output.
        "forward_transfer": None,
    }


def checked(R: ArrayLike, n: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """`R` and `n` as float64 arrays; InputError if they are invalid."""
    R, n = _matrix(R), np.asarray(n, dtype=np.float64)
    if n.shape != (len(R),):
        raise InputError(
            f"an accuracy matrix of {len(R)} steps needs {len(R)} numbers of test clips; got shape {n.shape}"
        )
    if not (np.isfinite(n).all() and (n >= 0).all() and n[0] > 0):
        raise InputError(f"the first task needs at least one test clip; the task sizes are {n.tolist()}")
    differing = np.flatnonzero((n == 0) != np.isnan(R.diagonal()))
    if len(differing):
        i = differing[0]
        raise InputError(f"task {i} has {n[i]:.0f} test clips, and the accuracy {R[i, i]}")
    return R, n


def _matrix(R: ArrayLike) -> np.ndarray:
    R = np.asarray(R, dtype=np.float64)
    if R.ndim != 2 or R.shape[0] != R.shape[1] or not len(R):
        raise InputError(f"an accuracy matrix has the shape (K, K) with K >= 1; got {R.shape}")
    empty = [i for i in range(1, len(R)) if np.isnan(R[i:, i]).all()]
    missing = [(int(s), int(i)) for s, i in np.argwhere(~np.isfinite(R)) if i <= s and i not in empty]
    if missing:
        step, task = missing[0]
        raise InputError(f"the accuracy matrix has no number after step {step} for task {task}")
    return R
