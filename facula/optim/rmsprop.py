"""RMSprop."""

import facula as torch

from . import updates
from .rule import UpdateRule, apply, check, check_lr, number, refuse_sparse
from .state import HostNumber, advance, scalar_dtype

__all__ = ["RMSprop", "rmsprop"]


class RMSprop(UpdateRule):
    """Steps divided by the root of a running average of the squared gradient.

    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01, centered=True)
    """

    def __init__(
        self,
        params,
        lr=1e-2,
        alpha=0.99,
        eps=1e-8,
        weight_decay=0,
        momentum=0,
        centered=False,
        capturable=False,
        foreach=None,
        maximize=False,
        differentiable=False,
    ):
        check_lr(lr)
        check("epsilon value", eps)
        check("momentum value", momentum)
        check("weight_decay value", weight_decay)
        check("alpha value", alpha)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state):
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("momentum", 0)
            group.setdefault("centered", False)

    def _begin(self, param, grad, group):
        refuse_sparse("RMSprop", [grad])
        state = {
            "step": HostNumber(0.0, scalar_dtype()),
            "square_avg": torch.zeros_like(param),
        }
        if group["momentum"] > 0:
            state["momentum_buffer"] = torch.zeros_like(param)
        if group["centered"]:
            state["grad_avg"] = torch.zeros_like(param)
        return state

    def _update(self, group):
        params, grads, steps, square_avgs, grad_avgs, bufs = self._gather(
            group, "step", "square_avg", "grad_avg", "momentum_buffer"
        )
        rmsprop(
            params,
            grads,
            square_avgs,
            grad_avgs,
            bufs,
            steps,
            maximize=group["maximize"],
            lr=group["lr"],
            alpha=group["alpha"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            centered=group["centered"],
        )


def rmsprop(
    params,
    grads,
    square_avgs,
    grad_avgs,
    momentum_buffer_list,
    state_steps,
    foreach=None,
    maximize=False,
    differentiable=False,
    capturable=False,
    has_complex=False,
    *,
    lr,
    alpha,
    eps,
    weight_decay,
    momentum,
    centered,
):
    """One step of RMSprop for a list of parameters."""
    options = {
        "lr": number(lr),
        "alpha": alpha,
        "eps": eps,
        "weight_decay": weight_decay,
        "momentum": momentum,
        "maximize": maximize,
    }
    for step in state_steps:
        advance(step)
    nothing = [None] * len(params)
    columns = (
        params,
        grads,
        square_avgs,
        grad_avgs if centered else nothing,
        momentum_buffer_list if momentum > 0 else nothing,
    )
    apply(updates.rmsprop, columns, options)
