"""Which PyTorch facula follows."""

debug = False
cuda = None
hip = None
xpu = None
git_version = "facula"
