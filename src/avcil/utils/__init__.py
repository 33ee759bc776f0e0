"""Files, downloads, devices, progress: helpers that do not depend on clips or models."""
