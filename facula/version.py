"""Which PyTorch facula follows."""

from facula.torch_version import RELEASE as __version__  # noqa: F401

debug = False
cuda = hip = rocm = xpu = None
git_version = "facula"
