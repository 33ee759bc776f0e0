"""Models on disk: tensors, description, model card, and the state for further learning."""
