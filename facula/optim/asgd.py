"""Averaged stochastic gradient descent."""

import facula as torch

from . import updates
from .rule import UpdateRule, apply_with, check, check_lr, number, refuse_sparse
from .state import HostNumber, advance, read, scalar_dtype, write

__all__ = ["ASGD", "asgd"]


class ASGD(UpdateRule):
    """SGD that keeps an average of the parameters, in `state[param]["ax"]`, from step t0 on.

    optimizer = torch.optim.ASGD(model.parameters(), lr=0.01, t0=1000)
    """

    _host_numbers = ("step", "eta", "mu")

    def __init__(
        self,
        params,
        lr=1e-2,
        lambd=1e-4,
        alpha=0.75,
        t0=1e6,
        weight_decay=0,
        foreach=None,
        maximize=False,
        differentiable=False,
        capturable=False,
    ):
        check_lr(lr)
        check("weight_decay value", weight_decay)
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _begin(self, param, grad, group):
        refuse_sparse("ASGD", [grad])
        dtype = scalar_dtype()
        return {
            "step": HostNumber(0.0, dtype),
            "eta": HostNumber(_rounded(read(group["lr"]), dtype), dtype),
            "mu": HostNumber(1.0, dtype),
            "ax": torch.zeros_like(param),
        }

    def _update(self, group):
        params, grads, steps, etas, mus, axs = self._gather(group, "step", "eta", "mu", "ax")
        asgd(
            params,
            grads,
            axs,
            mus,
            etas,
            steps,
            maximize=group["maximize"],
            lambd=group["lambd"],
            lr=group["lr"],
            t0=group["t0"],
            alpha=group["alpha"],
            weight_decay=group["weight_decay"],
        )


def _rounded(value, dtype):
    return HostNumber(0.0, dtype).set(value)


def asgd(
    params,
    grads,
    axs,
    mus,
    etas,
    state_steps,
    foreach=None,
    maximize=False,
    differentiable=False,
    capturable=False,
    has_complex=False,
    *,
    lambd,
    lr,
    t0,
    alpha,
    weight_decay,
):
    """One step of ASGD for a list of parameters."""
    lr = number(lr)
    steps = [advance(step) for step in state_steps]
    keys = [(read(eta), read(mu)) for eta, mu in zip(etas, mus)]
    options = {"lambd": lambd, "weight_decay": weight_decay, "maximize": maximize}
    apply_with(
        updates.asgd,
        (params, grads, axs),
        options,
        keys,
        lambda key: {"eta": key[0], "mu": key[1]},
    )
    for step, eta, mu in zip(steps, etas, mus):
        write(eta, lr / (1 + lambd * lr * step) ** alpha)
        write(mu, 1 / max(1, step - t0))
