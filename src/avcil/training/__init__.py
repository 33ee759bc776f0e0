"""Training: steps, epochs, checkpoints, the run directory."""
