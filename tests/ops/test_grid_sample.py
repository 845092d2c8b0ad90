"""Sampling at the places of a grid: what all channels share is computed once."""

import numpy as np
import pytest

import facula as torch

F = torch.nn.functional


def bilinear(image, grid):
    """Means of the four neighbours, 0 outside; align_corners=False."""
    n, c, h, w = image.shape
    out = np.zeros((n, c, *grid.shape[1:3]))
    for b, i, j in np.ndindex(n, *grid.shape[1:3]):
        x, y = ((grid[b, i, j] + 1) * (w, h) - 1) / 2
        for dy, dx in np.ndindex(2, 2):
            row, column = int(np.floor(y)) + dy, int(np.floor(x)) + dx
            if 0 <= row < h and 0 <= column < w:
                weight = (1 - abs(y - row)) * (1 - abs(x - column))
                out[b, :, i, j] += weight * image[b, :, row, column]
    return out


@pytest.mark.parametrize("channels", [1, 3, 20])
def test_values(channels):
    rng = np.random.default_rng(channels)
    image, grid = rng.standard_normal((2, channels, 5, 7)), rng.uniform(-1.5, 1.5, (2, 6, 9, 2))
    got = F.grid_sample(torch.tensor(image), torch.tensor(grid), align_corners=False)
    np.testing.assert_allclose(got.numpy(), bilinear(image, grid), atol=1e-12)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_outside_nothing_is_read(mode):
    """Not the first element either, which stands in for what is outside."""
    image = torch.ones(1, 2, 4, 4)
    image[..., 0, 0] = torch.nan
    grid = torch.tensor([[[[1.4, 1.4], [-5.0, 3.0], [0.5, 0.5]]]])
    got = F.grid_sample(image, grid, mode, align_corners=False)
    assert torch.isfinite(got).all()
    assert got[0, :, 0, 1].tolist() == [0, 0]


def test_places_are_computed_once():
    """A kernel for the places of each pixel, and one that reads them for every channel."""
    image, grid = torch.rand(1, 8, 16, 16), torch.rand(1, 16, 16, 2)
    low, high = torch.explain(F.grid_sample(image, grid, align_corners=False)).kernels[-2:]
    assert (low.shape, high.shape) == ((1, 16, 16), (1, 8, 16, 16))
    names = {name.split("*")[0] for name in high.operators}
    assert "gather" in names and not names & {"lt", "and", "cast"}
