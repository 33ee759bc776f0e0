"""Streams: in which order the clips of a feature store arrive, one file per kind of stream."""
