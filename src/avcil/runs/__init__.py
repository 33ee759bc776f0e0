"""Run directories: writing, reading, metrics."""
