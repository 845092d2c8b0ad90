"""The gradients of convolutions as functions of their own."""

import facula as torch
from facula.nn import functional as F


def _conv_gradient(conv, input, weight, wanted, grad_output, stride, padding, dilation, groups):
    """The derivative of a convolution with respect to its input or weight."""
    input, weight = input.detach(), weight.detach()
    wrt = (input if wanted == "input" else weight).requires_grad_(True)
    with torch.enable_grad():
        output = conv(input, weight, None, stride, padding, dilation, groups)
        return torch.autograd.grad(output, wrt, grad_output)[0]


def _of_input(conv, input_size, weight, grad_output, *settings):
    if input_size is None:
        raise ValueError("grad.conv_input requires specifying an input_size")
    # Its values do not matter to a linear function's derivative.
    input = torch.zeros(input_size, dtype=grad_output.dtype, device=grad_output.device)
    return _conv_gradient(conv, input, weight, "input", grad_output, *settings)


def _of_weight(conv, input, weight_size, grad_output, *settings):
    weight = torch.zeros(weight_size, dtype=grad_output.dtype, device=grad_output.device)
    return _conv_gradient(conv, input, weight, "weight", grad_output, *settings)


def conv1d_input(input_size, weight, grad_output, stride=1, padding=0, dilation=1, groups=1):
    """The gradient of conv1d with respect to its input."""
    return _of_input(F.conv1d, input_size, weight, grad_output, stride, padding, dilation, groups)


def conv1d_weight(input, weight_size, grad_output, stride=1, padding=0, dilation=1, groups=1):
    """The gradient of conv1d with respect to its weight."""
    return _of_weight(F.conv1d, input, weight_size, grad_output, stride, padding, dilation, groups)


def conv2d_input(input_size, weight, grad_output, stride=1, padding=0, dilation=1, groups=1):
    """The gradient of conv2d with respect to its input."""
    return _of_input(F.conv2d, input_size, weight, grad_output, stride, padding, dilation, groups)


def conv2d_weight(input, weight_size, grad_output, stride=1, padding=0, dilation=1, groups=1):
    """The gradient of conv2d with respect to its weight."""
    return _of_weight(F.conv2d, input, weight_size, grad_output, stride, padding, dilation, groups)


def conv3d_input(input_size, weight, grad_output, stride=1, padding=0, dilation=1, groups=1):
    """The gradient of conv3d with respect to its input."""
    return _of_input(F.conv3d, input_size, weight, grad_output, stride, padding, dilation, groups)


def conv3d_weight(input, weight_size, grad_output, stride=1, padding=0, dilation=1, groups=1):
    """The gradient of conv3d with respect to its weight."""
    return _of_weight(F.conv3d, input, weight_size, grad_output, stride, padding, dilation, groups)
