"""Feature stores and streams for other libraries: PyTorch, Hugging Face Datasets, Avalanche, CapyMOA."""
