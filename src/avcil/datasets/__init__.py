"""Benchmarks: which classes come at which step, and the clips they are made of."""

from avcil.datasets.benchmark import Benchmark

__all__ = ["Benchmark"]
