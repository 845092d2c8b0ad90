"""Automatic differentiation: the graph of derivatives, the backward walk, modes and hooks."""
