"""Files that ship with the package: a subset of MNIST, see LICENSE.md beside it."""
