"""Adagrad."""

import facula as torch

from . import updates
from .rule import UpdateRule, apply_with, check, check_fused, check_lr, number, skips, unscaled
from .state import HostNumber, ParamState, advance, scalar_dtype

__all__ = ["Adagrad", "adagrad"]


class Adagrad(UpdateRule):
    """Steps divided by the root of the sum of all squared gradients so far.

    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.01)
    """

    def __init__(
        self,
        params,
        lr=1e-2,
        lr_decay=0,
        weight_decay=0,
        initial_accumulator_value=0,
        eps=1e-10,
        foreach=None,
        *,
        maximize=False,
        differentiable=False,
        fused=None,
    ):
        check_lr(lr)
        check("lr_decay value", lr_decay)
        check("weight_decay value", weight_decay)
        check("initial_accumulator_value value", initial_accumulator_value)
        check("epsilon value", eps)
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        check_fused(fused, foreach, differentiable)
        for group in self.param_groups:  # unlike other optimizers, before the first step
            for param in group["params"]:
                state = self.state[param] = ParamState()
                state.update(self._begin(param, None, group))

    def _begin(self, param, grad, group):
        start = group["initial_accumulator_value"]
        if param.is_complex():
            start = complex(start, start)
        return {
            "step": HostNumber(0.0, torch.float32 if group["fused"] else scalar_dtype()),
            "sum": torch.full_like(param, start, requires_grad=False),
        }

    def share_memory(self):
        """Moves the sums to memory that other processes share."""
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param]["sum"].share_memory_()

    def _update(self, group):
        params, grads, steps, sums = self._gather(group, "step", "sum")
        adagrad(
            params,
            grads,
            sums,
            steps,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            lr_decay=group["lr_decay"],
            eps=group["eps"],
            maximize=group["maximize"],
        )


def adagrad(
    params,
    grads,
    state_sums,
    state_steps,
    fused=None,
    grad_scale=None,
    found_inf=None,
    has_sparse_grad=False,
    foreach=None,
    differentiable=False,
    has_complex=False,
    *,
    lr,
    weight_decay,
    lr_decay,
    eps,
    maximize,
):
    """One step of Adagrad for a list of parameters; gradients may be sparse."""
    if skips(found_inf):
        return
    lr = number(lr)
    grads = unscaled(grads, grad_scale)
    steps = [advance(step) for step in state_steps]
    options = {"eps": eps, "maximize": maximize}

    def rate(step):
        return {"lr": lr / (1 + (step - 1) * lr_decay)}

    dense = [i for i, grad in enumerate(grads) if not grad.is_sparse]
    columns = [[column[i] for i in dense] for column in (params, grads, state_sums)]
    decayed = {**options, "weight_decay": weight_decay}
    apply_with(updates.adagrad, columns, decayed, [steps[i] for i in dense], rate)
    for i, grad in enumerate(grads):
        if grad.is_sparse:
            if weight_decay != 0:
                raise RuntimeError("weight_decay option is not compatible with sparse gradients")
            updates.adagrad_sparse(params[i], grad, state_sums[i], **options, **rate(steps[i]))
