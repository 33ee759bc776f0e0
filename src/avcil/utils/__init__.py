"""Files, downloads, devices, progress: helpers that know nothing of clips or models."""
