"""Kernels for the element-wise part of guided attention: C, Triton and PyTorch operators."""
