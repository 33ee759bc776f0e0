"""Synthetic audio-visual clips, rendered for the demo and the tests."""
