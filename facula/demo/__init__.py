"""The demo, `python -m facula.demo`: learn handwritten digits, then look at what was learned.

`__main__.py` is an ordinary PyTorch program and meant to be read.
"""
