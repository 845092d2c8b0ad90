"""Quantised arithmetic: not there."""

engine = "none"
supported_engines: list[str] = ["none"]
