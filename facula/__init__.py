"""facula: PyTorch's API and semantics on a lazy, fusing LLVM engine."""

__version__ = "2.13.0"
