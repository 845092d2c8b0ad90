"""Which PyTorch facula follows."""

from facula import __version__

debug = False
cuda = None
hip = None
xpu = None
git_version = "facula"
