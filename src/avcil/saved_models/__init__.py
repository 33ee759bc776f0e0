"""Models on disk: tensors, description, what is needed to learn more."""
