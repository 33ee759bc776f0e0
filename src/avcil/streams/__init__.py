"""Streams: the order in which the clips of a feature store arrive. One file per kind of stream."""
