"""Muon: momentum whose matrix is made orthogonal before it is applied."""

import math

import facula as torch

from . import updates
from .rule import UpdateRule, number

__all__ = ["Muon"]

# How the learning rate follows the shape of a matrix (rows, columns).
_ADJUSTMENTS = {
    "original": lambda rows, columns: math.sqrt(max(1, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
}


class Muon(UpdateRule):
    """Momentum steps made orthogonal by a Newton-Schulz iteration; for matrices only.

    hidden = [p for p in model.parameters() if p.ndim == 2]
    optimizer = torch.optim.Muon(hidden, lr=1e-3)
    """

    _host_numbers = ()
    _added_options = {}

    def __init__(
        self,
        params,
        lr=1e-3,
        weight_decay=0.1,
        momentum=0.95,
        nesterov=True,
        ns_coefficients=(3.4445, -4.7750, 2.0315),
        eps=1e-7,
        ns_steps=5,
        adjust_lr_fn=None,
    ):
        if isinstance(lr, torch.Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        for what, value in (
            ("Learning rate", lr),
            ("momentum", momentum),
            ("weight decay", weight_decay),
        ):
            if not value >= 0.0:
                raise ValueError(f"{what} should be >= 0 but is: {value}")
        if adjust_lr_fn is not None and adjust_lr_fn not in _ADJUSTMENTS:
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for param in group["params"]:
                if param.ndim != 2:
                    raise ValueError(
                        "Muon only supports 2D parameters whereas we found a parameter with "
                        f"size: {param.size()}"
                    )

    def _begin(self, param, grad, group):
        if param.is_complex():
            raise RuntimeError("Muon does not support complex parameters")
        if grad.is_sparse:
            raise RuntimeError("Muon does not support sparse gradients")
        return {"momentum_buffer": torch.zeros_like(grad, memory_format=torch.preserve_format)}

    def _update(self, group):
        params, grads, bufs = self._gather(group, "momentum_buffer")
        coefficients, steps = group["ns_coefficients"], group["ns_steps"]
        if steps >= 100:
            raise ValueError("Number of steps must be less than 100 for computational efficiency")
        if len(coefficients) != 3:
            raise ValueError("Coefficients must be a tuple of exactly 3 values")
        lr = number(group["lr"])
        adjustment = _ADJUSTMENTS[group["adjust_lr_fn"] or "original"]
        for param, grad, buf in zip(params, grads, bufs, strict=True):
            if grad.ndim != 2:
                raise ValueError("Param gradient must be a 2D matrix")
            updates.muon(
                param,
                grad,
                buf,
                lr=lr,
                rate=lr * adjustment(*param.shape),
                weight_decay=group["weight_decay"],
                momentum=group["momentum"],
                nesterov=group["nesterov"],
                ns_coefficients=coefficients,
                ns_steps=steps,
                eps=group["eps"],
            )
