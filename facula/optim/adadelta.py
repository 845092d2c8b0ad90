"""Adadelta."""

import facula as torch

from . import updates
from .rule import UpdateRule, apply, check, check_lr, number, refuse_sparse
from .state import HostNumber, advance, scalar_dtype

__all__ = ["Adadelta", "adadelta"]


class Adadelta(UpdateRule):
    """Steps whose size follows the running average of past steps.

    optimizer = torch.optim.Adadelta(model.parameters())
    """

    def __init__(
        self,
        params,
        lr=1.0,
        rho=0.9,
        eps=1e-6,
        weight_decay=0,
        foreach=None,
        *,
        capturable=False,
        maximize=False,
        differentiable=False,
    ):
        check_lr(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check("epsilon value", eps)
        check("weight_decay value", weight_decay)
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _begin(self, param, grad, group):
        refuse_sparse("Adadelta", [grad])
        return {
            "step": HostNumber(0.0, scalar_dtype()),
            "square_avg": torch.zeros_like(param),
            "acc_delta": torch.zeros_like(param),
        }

    def _update(self, group):
        params, grads, steps, square_avgs, acc_deltas = self._gather(
            group, "step", "square_avg", "acc_delta"
        )
        adadelta(
            params,
            grads,
            square_avgs,
            acc_deltas,
            steps,
            lr=group["lr"],
            rho=group["rho"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            maximize=group["maximize"],
        )


def adadelta(
    params,
    grads,
    square_avgs,
    acc_deltas,
    state_steps,
    capturable=False,
    foreach=None,
    differentiable=False,
    has_complex=False,
    *,
    lr,
    rho,
    eps,
    weight_decay,
    maximize,
):
    """One step of Adadelta for a list of parameters."""
    options = {
        "lr": number(lr),
        "rho": rho,
        "eps": eps,
        "weight_decay": weight_decay,
        "maximize": maximize,
    }
    for step in state_steps:
        advance(step)
    apply(updates.adadelta, (params, grads, square_avgs, acc_deltas), options)
