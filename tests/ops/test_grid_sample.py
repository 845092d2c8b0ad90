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
    """A kernel for the taps along each dim, and one that reads them for every channel."""
    image, grid = torch.rand(1, 8, 16, 16), torch.rand(1, 16, 16, 2)
    kernels = torch.explain(F.grid_sample(image, grid, align_corners=False)).kernels
    assert [k.shape for k in kernels[-2:]] == [(1, 2, 2, 256), (1, 8, 16, 16)]
    assert len(kernels) <= 3


# how -> what PyTorch 2.13 gives for `digest`
DIGESTS = {
    (2, "bilinear", "zeros", False): [
        5.766547,
        -0.193111,
        9.283092,
        -300.142559,
        -893.626492,
        -26.212442,
    ],
    (2, "bilinear", "zeros", True): [
        6.81432,
        -4.833562,
        20.126954,
        -276.859516,
        -448.293777,
        -64.08655,
    ],
    (2, "bilinear", "border", False): [
        6.701291,
        -2.23686,
        8.83119,
        -300.540194,
        -793.18236,
        2.507313,
    ],
    (2, "bilinear", "border", True): [
        8.060103,
        -5.496732,
        24.581595,
        -290.135397,
        -563.782444,
        -80.102669,
    ],
    (2, "bilinear", "reflection", False): [
        4.916678,
        -1.701266,
        5.587419,
        -278.461418,
        -807.40397,
        -57.937579,
    ],
    (2, "bilinear", "reflection", True): [
        5.198211,
        -4.272366,
        23.094958,
        -264.668937,
        -569.04598,
        -19.372841,
    ],
    (2, "nearest", "zeros", False): [9.88527, 1.736959, 0.0, 0.0, 0.0, 3.851033],
    (2, "nearest", "zeros", True): [7.522063, -7.007467, 0.0, 0.0, 0.0, 2.909604],
    (2, "nearest", "border", False): [8.786086, -0.333149, 0.0, 0.0, 0.0, -2.931206],
    (2, "nearest", "border", True): [9.783779, -7.053424, 0.0, 0.0, 0.0, 0.119869],
    (2, "nearest", "reflection", False): [8.786086, -0.333149, 0.0, 0.0, 0.0, -2.931206],
    (2, "nearest", "reflection", True): [6.652955, -6.280985, 0.0, 0.0, 0.0, 0.119869],
    (2, "bicubic", "zeros", False): [
        7.410036,
        -0.141563,
        20.540927,
        -231.536203,
        -3363.682351,
        241.579425,
    ],
    (2, "bicubic", "zeros", True): [
        8.34939,
        -4.867772,
        29.0279,
        -432.715544,
        -1325.685856,
        -72.521005,
    ],
    (2, "bicubic", "border", False): [
        7.50805,
        -2.554789,
        18.037144,
        -286.618125,
        -2995.242837,
        223.182393,
    ],
    (2, "bicubic", "border", True): [
        8.834356,
        -5.836685,
        32.691366,
        -391.21689,
        -1355.354846,
        -90.405709,
    ],
    (2, "bicubic", "reflection", False): [
        5.990172,
        -2.303525,
        12.022426,
        -268.854301,
        -2898.46798,
        181.794572,
    ],
    (2, "bicubic", "reflection", True): [
        5.572439,
        -3.802246,
        29.408786,
        -424.99277,
        -1629.318174,
        51.65504,
    ],
    (3, "bilinear", "zeros", False): [
        1.010875,
        1.681533,
        -1.196981,
        -34.072157,
        150.199868,
        -20.322651,
    ],
    (3, "bilinear", "zeros", True): [
        1.986205,
        -1.433037,
        4.425697,
        -29.755375,
        97.043658,
        -1.766841,
    ],
    (3, "bilinear", "border", False): [
        4.33562,
        0.584955,
        -3.697396,
        -15.662845,
        136.804951,
        -7.973335,
    ],
    (3, "bilinear", "border", True): [
        3.11606,
        -2.718776,
        1.014958,
        -19.930986,
        79.603185,
        -7.311238,
    ],
    (3, "bilinear", "reflection", False): [
        4.269173,
        1.456617,
        -2.183933,
        -57.940246,
        43.591667,
        33.665019,
    ],
    (3, "bilinear", "reflection", True): [
        2.023891,
        -0.511343,
        7.904196,
        -60.291326,
        63.895142,
        -4.583295,
    ],
    (3, "nearest", "zeros", False): [3.110444, 0.385321, 0.0, 0.0, 0.0, 3.493632],
    (3, "nearest", "zeros", True): [5.516109, -3.757669, 0.0, 0.0, 0.0, -1.933024],
    (3, "nearest", "border", False): [4.22789, -1.994846, 0.0, 0.0, 0.0, 3.678596],
    (3, "nearest", "border", True): [6.439766, -5.523313, 0.0, 0.0, 0.0, 2.519013],
    (3, "nearest", "reflection", False): [4.22789, -1.994846, 0.0, 0.0, 0.0, 3.678596],
    (3, "nearest", "reflection", True): [5.047354, -2.645768, 0.0, 0.0, 0.0, 2.310017],
}


def digest(torch, dims, mode, padding, align):
    """The samples, the gradients of images and grid, and their derivatives, each as one number.

    `torch` is facula, or PyTorch for the table: {how: digest(torch, *how) for how in DIGESTS}.
    """
    rng = np.random.default_rng(3)
    size, points = ((4, 5), (3, 3)) if dims == 2 else ((3, 4, 2), (2, 1, 3))
    arrays = [rng.standard_normal((2, 3, *size)), rng.uniform(-1.5, 1.5, (2, *points, dims))]
    arrays += [rng.standard_normal((2, 3, *points))]
    x, grid, g = (torch.tensor(a, requires_grad=True) for a in arrays)
    y = torch.nn.functional.grid_sample(x, grid, mode, padding, align)
    first = torch.autograd.grad(y, (x, grid), g, create_graph=True)

    def one(v):
        if v is None:  # nearest: nothing depends on it
            return 0.0
        return float(
            (v * torch.arange(1.0, v.numel() + 1, dtype=v.dtype).reshape(v.shape).cos()).sum()
        )

    total = sum((v * v).sum() for v in first)
    second = torch.autograd.grad(total, (x, grid, g), allow_unused=True)
    return [round(one(v), 6) for v in (y, *first, *second)]


@pytest.mark.parametrize("how", DIGESTS, ids=lambda h: "-".join(map(str, h)))
def test_modes(how):
    np.testing.assert_allclose(digest(torch, *how), DIGESTS[how], rtol=1e-6, atol=2e-6)


def test_what_pytorch_gives():
    """float32, with places far outside and none; figures of torch 2.13's CPU kernels."""
    image = torch.arange(16.0).reshape(1, 1, 4, 4) + 1
    nan, inf = float("nan"), float("inf")
    grid = torch.tensor([[[[nan, 0.0], [inf, 0.0], [0.0, 1e30], [-inf, 0.0]]]])
    expected = {
        ("bilinear", "zeros"): [nan, nan, 0, nan],
        ("bilinear", "border"): [7, 10, 14.5, 7],
        ("bilinear", "reflection"): [7, 7, 2.5, 7],
        ("nearest", "zeros"): [0, 0, 0, 0],
        ("nearest", "border"): [9, 12, 15, 9],
        ("bicubic", "border"): [nan, nan, 14.5, nan],
    }
    for (mode, padding), values in expected.items():
        got = F.grid_sample(image, grid, mode, padding, align_corners=False)
        np.testing.assert_array_equal(got.numpy().ravel(), values, err_msg=f"{mode} {padding}")


@pytest.mark.parametrize("channels", [1, 3, 4, 9])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_bits_on_any_number_of_threads(channels, dtype):
    rng = np.random.default_rng(channels)
    arrays = [rng.standard_normal((2, channels, 40, 41)), rng.uniform(-1.2, 1.2, (2, 70, 33, 2))]
    got = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        image, grid = (torch.tensor(a.astype(dtype), requires_grad=True) for a in arrays)
        y = F.grid_sample(image, grid, align_corners=False)
        (y * y).sum().backward()
        got.append([v.detach().numpy() for v in (y, image.grad, grid.grad)])
    torch.set_num_threads(before)
    for a, b in zip(*got, strict=True):
        np.testing.assert_array_equal(a, b)


def middles(n, dtype, align):
    """The identity's places along a line of n pixels."""
    theta = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]], dtype=dtype)
    return F.affine_grid(theta, (1, 1, n, n), align_corners=align)


@pytest.mark.parametrize("n", [3, 7, 11, 19, 28, 100])
@pytest.mark.parametrize("align", [False, True])
def test_the_identity_has_pytorchs_bits(n, align):
    """A line from -1 to 1 from both ends, times n - 1, by n: each rounded once."""
    i, step = np.arange(n), np.float64(np.float32(2) / np.float32(n - 1))
    line = np.where(i < n // 2, -1 + step * i, 1 - step * (n - 1 - i)).astype(np.float32)
    if not align:
        line = line * np.float32(n - 1) / np.float32(n)
    got = middles(n, torch.float32, align)[0]
    np.testing.assert_array_equal(got[0, :, 0].numpy(), line)
    np.testing.assert_array_equal(got[:, 0, 1].numpy(), line)


@pytest.mark.parametrize("n", [7, 11, 28, 29, 100])
def test_slopes_at_the_middles_of_pixels(n):
    """Where the slope jumps, the fused position says to which side a place belongs."""
    grid = middles(n, torch.float32, False).requires_grad_()
    image = (torch.arange(n, dtype=torch.float32) ** 2).expand(1, 1, n, n).contiguous()
    F.grid_sample(image, grid, align_corners=False).sum().backward()
    x = grid.detach()[0, 0, :, 0].numpy() + np.float32(1)
    low = np.floor(np.float32(np.float64(x) * (n / 2) - 0.5))
    inner = slice(1, n - 1)
    slopes = grid.grad[0, n // 2, :, 0].numpy() / (n / 2)
    np.testing.assert_allclose(slopes[inner], 2 * low[inner] + 1, rtol=1e-4)


def test_a_line_in_float64_is_rounded_once():
    line = torch.linspace(-1, 1, 7, dtype=torch.float64)
    assert line[3].item() == 2.0**-54
