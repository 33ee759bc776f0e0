"""Benchmarks: the classes of each step, and the clips of each class."""

from avcil.datasets.benchmark import Benchmark

__all__ = ["Benchmark"]
