"""Run directories: what a training run writes, and reading it."""
