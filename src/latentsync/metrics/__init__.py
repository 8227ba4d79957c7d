"""Scores: arrays in, numbers out. Nothing here reads files or runs the pipeline."""
