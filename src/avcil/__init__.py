"""Audio-visual class-incremental learning."""

import os

__version__ = "0.1.0"

# PyTorch asks for huge pages then: a fresh array of 100 MB costs a tenth of the page faults (docs/performance.md). It
# looks once, when it first allocates, so this stands before anything imports it.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
