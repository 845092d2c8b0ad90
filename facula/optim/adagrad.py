"""Adagrad."""

import facula as torch

from . import updates
from .rule import UpdateRule, as_real, check, check_fused, check_lr, number, skips
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
    for i, param in enumerate(params):
        grad, state_sum = grads[i], state_sums[i]
        if grad_scale is not None:
            grad = grad / grad_scale
        rate = lr / (1 + (advance(state_steps[i]) - 1) * lr_decay)
        if grad.is_sparse:
            if weight_decay != 0:
                raise RuntimeError("weight_decay option is not compatible with sparse gradients")
            updates.adagrad_sparse(param, grad, state_sum, lr=rate, eps=eps, maximize=maximize)
            continue
        tensors = (param, grad, state_sum)
        if param.is_complex():
            tensors = as_real(*tensors)
        updates.adagrad(*tensors, lr=rate, eps=eps, weight_decay=weight_decay, maximize=maximize)
