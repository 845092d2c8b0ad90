"""Single layers, forward alone and with their backward pass: `python -m benchmarks -t layers`.

Shapes are those of networks in use: the ResNets' and MobileNets' convolutions, segmentation's dilated
and transposed ones, video's three-dimensional ones, pooling, normalisation and resampling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Sizes = tuple[int, ...]
LAYERS: dict[str, Callable[[Any], Callable[[], float]]] = {}


def layer(name: str, build: Callable[[Any], Callable[[Any], Any]], *sizes: int) -> None:
    """Registers a layer: `build(torch)` makes a function of one tensor of the given sizes."""

    def forward(torch):
        f, x = build(torch), torch.randn(*sizes)
        kept: list[Any] = [None]

        def step():
            with torch.no_grad():
                y = kept[0] = f(x)  # held, so that all of it has to be computed
                return y.flatten()[-1].item()

        return step

    def training(torch):
        f, x = build(torch), torch.randn(*sizes, requires_grad=True)
        g = torch.randn_like(f(x))

        def step():
            x.grad = None
            f(x).backward(g)
            return x.grad.flatten()[-1].item()

        return step

    LAYERS[f"{name}.forward"] = forward
    LAYERS[f"{name}.train"] = training


def conv(name: str, sizes: Sizes, out: int, kernel: int, dims: int = 2, **options: Any) -> None:
    """A convolution; `transposed=True` makes it a transposed one."""
    kind = "ConvTranspose" if options.pop("transposed", False) else "Conv"

    def build(torch):
        return getattr(torch.nn, f"{kind}{dims}d")(sizes[1], out, kernel, **options)

    layer(name, build, *sizes)


def functional(name: str, sizes: Sizes, function: str, *arguments: Any, **options: Any) -> None:
    """A function of torch.nn.functional."""

    def build(torch):
        f = getattr(torch.nn.functional, function)
        return lambda x: f(x, *arguments, **options)

    layer(name, build, *sizes)


def module(name: str, sizes: Sizes, kind: str, *arguments: Any, **options: Any) -> None:
    """A module of torch.nn."""
    layer(name, lambda torch: getattr(torch.nn, kind)(*arguments, **options), *sizes)


conv("conv3x3_64_56", (8, 64, 56, 56), 64, 3, padding=1)
conv("conv3x3_256_14", (8, 256, 14, 14), 256, 3, padding=1)
conv("conv3x3_512_7", (8, 512, 7, 7), 512, 3, padding=1)
conv("conv3x3_s2_128_28", (8, 128, 28, 28), 256, 3, stride=2, padding=1)
conv("conv7x7_s2_stem", (4, 3, 112, 112), 64, 7, stride=2, padding=3)
conv("conv5x5_32_28", (16, 32, 28, 28), 64, 5, padding=2)
conv("conv1x1_256_14", (16, 256, 14, 14), 64, 1)
conv("conv1x1_s2_64_28", (16, 64, 28, 28), 128, 1, stride=2)
conv("conv3x3_dilated", (4, 64, 32, 32), 64, 3, padding=2, dilation=2)
conv("conv3x3_grouped", (8, 128, 28, 28), 128, 3, padding=1, groups=32)
conv("conv3x3_depthwise", (8, 96, 56, 56), 96, 3, padding=1, groups=96)
conv("conv3x3_depthwise_s2", (8, 96, 56, 56), 96, 3, stride=2, padding=1, groups=96)
conv("conv5x5_depthwise", (8, 96, 28, 28), 96, 5, padding=2, groups=96)
conv("conv3x3_depthwise_7", (32, 512, 7, 7), 512, 3, padding=1, groups=512)
conv("conv7x7_depthwise", (4, 96, 56, 56), 96, 7, padding=3, groups=96)
conv("conv1d_depthwise", (4, 256, 512), 256, 4, dims=1, padding=3, groups=256)
conv("conv3x3_reflect", (8, 32, 32, 32), 32, 3, padding=1, padding_mode="reflect")
conv("conv3x3_batch1", (1, 64, 56, 56), 64, 3, padding=1)
conv("conv3x3_tiny", (1, 8, 8, 8), 8, 3, padding=1)
conv("conv_transpose_2x2", (4, 64, 32, 32), 32, 2, stride=2, transposed=True)
conv("conv_transpose_4x4", (4, 64, 16, 16), 32, 4, stride=2, padding=1, transposed=True)
conv("conv1d_audio", (8, 64, 1000), 64, 9, dims=1, padding=4)
conv("conv1d_dilated", (8, 64, 500), 64, 3, dims=1, padding=8, dilation=8)
conv("conv3d_16", (2, 16, 16, 28, 28), 32, 3, dims=3, padding=1)
conv("conv3d_s2", (2, 16, 16, 28, 28), 32, 3, dims=3, stride=2, padding=1)
conv("conv_transpose3d", (2, 16, 8, 14, 14), 16, 2, dims=3, stride=2, transposed=True)
conv("conv3x3_s2_64_56", (8, 64, 56, 56), 128, 3, stride=2, padding=1)
conv("conv1x1_s2_256_14", (16, 256, 14, 14), 512, 1, stride=2)
conv("conv5x5_depthwise_s2", (8, 96, 28, 28), 96, 5, stride=2, padding=2, groups=96)
conv("conv16x16_patches", (8, 3, 224, 224), 192, 16, stride=16)
conv("conv3d_3x3_s2_wide", (2, 32, 8, 28, 28), 64, 3, dims=3, stride=2, padding=1)
functional("max_pool2d", (8, 64, 56, 56), "max_pool2d", 2)
functional("max_pool2d_3s2", (8, 64, 56, 56), "max_pool2d", 3, 2, 1)
functional("avg_pool2d", (8, 64, 56, 56), "avg_pool2d", 2)
functional("adaptive_avg_pool2d", (8, 64, 28, 28), "adaptive_avg_pool2d", 7)
functional("global_avg_pool", (16, 512, 7, 7), "adaptive_avg_pool2d", 1)
functional("adaptive_avg_uneven", (8, 64, 28, 28), "adaptive_avg_pool2d", 5)
functional("adaptive_max_uneven", (8, 64, 28, 28), "adaptive_max_pool2d", 5)
functional("max_pool1d", (8, 64, 1000), "max_pool1d", 2)
functional("max_pool3d", (2, 16, 16, 28, 28), "max_pool3d", 2)
functional("avg_pool3d", (2, 16, 16, 28, 28), "avg_pool3d", 2)
functional("nearest_up2", (4, 32, 32, 32), "interpolate", scale_factor=2)
functional("bilinear_up2", (4, 32, 32, 32), "interpolate", scale_factor=2, mode="bilinear")
functional("bicubic_up2", (4, 16, 32, 32), "interpolate", scale_factor=2, mode="bicubic")
functional("area_down", (4, 16, 64, 64), "interpolate", size=(24, 24), mode="area")
functional("bilinear_down", (4, 16, 64, 64), "interpolate", size=(24, 24), mode="bilinear")
functional("bilinear_antialias", (4, 16, 64, 64), "interpolate", size=(24, 24), mode="bilinear",
    antialias=True)  # fmt: skip
for _mode in ("constant", "reflect", "replicate", "circular"):
    functional(f"pad_{_mode}", (8, 32, 56, 56), "pad", (1, 1, 1, 1), mode=_mode)
functional("pdist", (256, 64), "pdist")
module("batch_norm", (16, 64, 32, 32), "BatchNorm2d", 64)
module("batch_norm_1d", (256, 512), "BatchNorm1d", 512)
module("group_norm", (8, 64, 32, 32), "GroupNorm", 8, 64)
module("group_norm_1", (8, 64, 32, 32), "GroupNorm", 1, 64)
module("group_norm_1_deep", (32, 512, 7, 7), "GroupNorm", 1, 512)
module("group_norm_7", (32, 512, 7, 7), "GroupNorm", 8, 512)
module("batch_norm_3d", (2, 32, 8, 28, 28), "BatchNorm3d", 32)
functional("pixel_shuffle", (4, 64, 32, 32), "pixel_shuffle", 2)
module("instance_norm", (8, 64, 32, 32), "InstanceNorm2d", 64, affine=True)
module("local_response", (4, 32, 28, 28), "LocalResponseNorm", 5)


def _embedding(kind: str) -> Callable[[Any], Callable[[Any], Any]]:
    def build(torch):
        table = getattr(torch.nn, kind)(20_000, 128)
        index = torch.randint(0, 20_000, (64, 64))
        return lambda x: table(index) * x

    return build


def _bags(torch):
    table = torch.nn.EmbeddingBag(20_000, 64)
    index, offsets = torch.randint(0, 20_000, (4_096,)), torch.arange(0, 4_096, 32)
    return lambda x: table(index, offsets) * x


def _sampled(torch):
    theta = torch.tensor([[0.9, 0.2, 0.1], [-0.2, 0.9, 0.0]]).repeat(4, 1, 1)
    grid = torch.nn.functional.affine_grid(theta, [4, 16, 64, 64], align_corners=False)
    return lambda x: torch.nn.functional.grid_sample(x, grid, align_corners=False)


def _ctc(torch):
    def loss(x):
        lengths = torch.full((16,), 20, dtype=torch.long), torch.full((16,), 100, dtype=torch.long)
        return torch.nn.functional.ctc_loss(x.log_softmax(-1), target, lengths[1], lengths[0])

    target = torch.randint(1, 30, (16, 20))
    return loss


layer("embedding", _embedding("Embedding"), 64, 64, 128)
layer("embedding_bag", _embedding("EmbeddingBag"), 64, 128)
layer("embedding_bag_offsets", _bags, 128, 64)
layer("grid_sample", _sampled, 4, 16, 64, 64)
layer("grid_sample_1", _sampled, 4, 1, 64, 64)
layer("grid_sample_3", _sampled, 4, 3, 64, 64)
layer("ctc_loss", _ctc, 100, 16, 30)
