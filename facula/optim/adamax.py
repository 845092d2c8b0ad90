"""Adamax: Adam with the infinity norm."""

import facula as torch

from . import updates
from .rule import UpdateRule, apply_with, check, check_betas, check_lr, number, refuse_sparse
from .state import HostNumber, advance, scalar_dtype

__all__ = ["Adamax", "adamax"]


class Adamax(UpdateRule):
    """Adam with a decaying maximum of the gradient in place of its mean square.

    optimizer = torch.optim.Adamax(model.parameters())
    """

    def __init__(
        self,
        params,
        lr=2e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        foreach=None,
        *,
        maximize=False,
        differentiable=False,
        capturable=False,
    ):
        check_lr(lr)
        check("epsilon value", eps)
        check_betas(betas)
        check("weight_decay value", weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _begin(self, param, grad, group):
        refuse_sparse("Adamax", [grad])
        return {
            "step": HostNumber(0.0, scalar_dtype()),
            "exp_avg": torch.zeros_like(param),
            "exp_inf": torch.zeros_like(param),
        }

    def _update(self, group):
        params, grads, steps, exp_avgs, exp_infs = self._gather(group, "step", "exp_avg", "exp_inf")
        beta1, beta2 = group["betas"]
        adamax(
            params,
            grads,
            exp_avgs,
            exp_infs,
            steps,
            maximize=group["maximize"],
            eps=group["eps"],
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
        )


def adamax(
    params,
    grads,
    exp_avgs,
    exp_infs,
    state_steps,
    foreach=None,
    maximize=False,
    differentiable=False,
    capturable=False,
    has_complex=False,
    *,
    eps,
    beta1,
    beta2,
    lr,
    weight_decay,
):
    """One step of Adamax for a list of parameters."""
    options = {
        "lr": number(lr),
        "beta1": beta1,
        "beta2": beta2,
        "eps": eps,
        "weight_decay": weight_decay,
        "maximize": maximize,
    }
    steps = [advance(step) for step in state_steps]
    columns = (params, grads, exp_avgs, exp_infs)
    apply_with(updates.adamax, columns, options, steps, lambda n: {"correction1": 1 - beta1**n})
