"""Training of a method on the steps of a benchmark, with checkpoints."""
