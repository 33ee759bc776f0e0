"""Clips and clip lists: scanning folders, splits, copies."""
