"""The autograd functions behind layers."""

import functools

import facula as torch

from .backward_hooks import BackwardHook  # noqa: F401  (PyTorch keeps its own here)


def _window_sum(x, first, size):
    """For each channel c the sum of channels c + first ... c + first + size - 1."""
    channels = x.size(1)
    padded = torch.nn.functional.pad(x, (0, 0, 0, 0, -first, first + size - 1))
    total = padded[:, :channels]
    for shift in range(1, size):
        total = total + padded[:, shift : shift + channels]
    return total


@functools.cache
def _lrn_function():
    # Made on first use: autograd may be imported after nn.
    class CrossMapLRN2dFunction(torch.autograd.Function):
        @staticmethod
        def forward(ctx, input, size, alpha, beta, k):
            reach = int((size - 1) / 2)  # channels of the window to either side
            square = input * input
            total = _window_sum(square, -reach, 2 * reach + 1)
            late = input.size(1) - reach - 1
            if late > 0:
                # As in PyTorch, whose sliding sum never drops the first channel.
                total[:, reach + 1 :] += square[:, :1].expand(-1, late, -1, -1)
            scale = total * (alpha / size) + k
            output = input * scale**-beta
            ctx.save_for_backward(input, output, scale)
            ctx.settings = (size, alpha, beta)
            return output

        @staticmethod
        def backward(ctx, grad):
            input, output, scale = ctx.saved_tensors
            size, alpha, beta = ctx.settings
            # The window PyTorch sums over here reaches further down than up.
            first = -int(size - (size - 1) / 2)
            shared = _window_sum(grad * output / scale, first, size)
            own = grad * scale**-beta
            return own - 2 * alpha * beta / size * input * shared, None, None, None, None

    return CrossMapLRN2dFunction


class CrossMapLRN2d:
    """x / (k + alpha / size * sum of squares over `size` neighbouring channels) ** beta."""

    @staticmethod
    def apply(input, size, alpha=1e-4, beta=0.75, k=1):
        if input.dim() != 4:
            raise ValueError(f"CrossMapLRN2d: Expected input to be 4D, got {input.dim()}D instead.")
        return _lrn_function().apply(input, size, alpha, beta, k)
