"""Rprop."""

import facula as torch

from . import updates
from .rule import UpdateRule, apply, check_lr, refuse_sparse
from .state import HostNumber, advance, scalar_dtype

__all__ = ["Rprop", "rprop"]


class Rprop(UpdateRule):
    """Resilient backpropagation: step sizes that grow while the gradient keeps its sign.

    optimizer = torch.optim.Rprop(model.parameters())
    """

    def __init__(
        self,
        params,
        lr=1e-2,
        etas=(0.5, 1.2),
        step_sizes=(1e-6, 50),
        *,
        capturable=False,
        foreach=None,
        maximize=False,
        differentiable=False,
    ):
        check_lr(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _begin(self, param, grad, group):
        refuse_sparse("Rprop", [grad])
        start = group["lr"]
        if isinstance(start, torch.Tensor):
            start = start.item()
        if param.is_complex():
            start = complex(start, start)
        return {
            "step": HostNumber(0.0, scalar_dtype()),
            "prev": torch.zeros_like(param),
            "step_size": torch.full_like(grad, start),
        }

    def _update(self, group):
        params, grads, steps, prevs, step_sizes = self._gather(group, "step", "prev", "step_size")
        eta_minus, eta_plus = group["etas"]
        least, most = group["step_sizes"]
        rprop(
            params,
            grads,
            prevs,
            step_sizes,
            steps,
            maximize=group["maximize"],
            step_size_min=least,
            step_size_max=most,
            etaminus=eta_minus,
            etaplus=eta_plus,
        )


def rprop(
    params,
    grads,
    prevs,
    step_sizes,
    state_steps,
    foreach=None,
    capturable=False,
    maximize=False,
    differentiable=False,
    has_complex=False,
    *,
    step_size_min,
    step_size_max,
    etaminus,
    etaplus,
):
    """One step of Rprop for a list of parameters."""
    for step in state_steps:
        advance(step)
    options = {
        "eta_minus": etaminus,
        "eta_plus": etaplus,
        "least": step_size_min,
        "most": step_size_max,
        "maximize": maximize,
    }
    apply(updates.rprop, (params, grads, prevs, step_sizes), options)
