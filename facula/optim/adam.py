"""Adam."""

import facula as torch

from . import updates
from .rule import (
    UpdateRule,
    apply_with,
    check,
    check_betas,
    check_fused,
    check_lr,
    number,
    refuse_sparse,
    skips,
    unscaled,
)
from .state import HostNumber, advance, scalar_dtype

__all__ = ["Adam", "adam"]


class Adam(UpdateRule):
    """Adam: steps scaled by running averages of the gradient and of its square.

    >>> import facula as torch
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = torch.optim.Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([0.9000])
    """

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        amsgrad=False,
        *,
        foreach=None,
        maximize=False,
        capturable=False,
        differentiable=False,
        fused=None,
        decoupled_weight_decay=False,
    ):
        _refuse_tensors("lr", lr, foreach, capturable)
        check_lr(lr)
        check("epsilon value", eps)
        _check_betas(betas, foreach, capturable)
        check("weight_decay value", weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)
        check_fused(fused, foreach, differentiable)

    def __setstate__(self, state):
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("amsgrad", False)
            group.setdefault("decoupled_weight_decay", False)

    def _begin(self, param, grad, group):
        refuse_sparse("Adam", [grad], ", please consider SparseAdam instead")
        state = {
            "step": HostNumber(0.0, torch.float32 if group["fused"] else scalar_dtype()),
            "exp_avg": torch.zeros_like(param),
            "exp_avg_sq": torch.zeros_like(param),
        }
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = torch.zeros_like(param)
        return state

    def _update(self, group):
        params, grads, steps, exp_avgs, exp_avg_sqs, maxima = self._gather(
            group, "step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"
        )
        beta1, beta2 = group["betas"]
        adam(
            params,
            grads,
            exp_avgs,
            exp_avg_sqs,
            maxima,
            steps,
            decoupled_weight_decay=group["decoupled_weight_decay"],
            amsgrad=group["amsgrad"],
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=group["maximize"],
        )


def adam(
    params,
    grads,
    exp_avgs,
    exp_avg_sqs,
    max_exp_avg_sqs,
    state_steps,
    foreach=None,
    capturable=False,
    differentiable=False,
    fused=None,
    grad_scale=None,
    found_inf=None,
    has_complex=False,
    decoupled_weight_decay=False,
    *,
    amsgrad,
    beta1,
    beta2,
    lr,
    weight_decay,
    eps,
    maximize,
):
    """One step of Adam for a list of parameters; `max_exp_avg_sqs` counts with amsgrad only."""
    if skips(found_inf):
        return
    beta1, beta2 = number(beta1), number(beta2)
    options = {
        "lr": number(lr),
        "beta1": beta1,
        "beta2": beta2,
        "eps": eps,
        "weight_decay": weight_decay,
        "decoupled": decoupled_weight_decay,
        "maximize": maximize,
    }
    maxima = max_exp_avg_sqs if amsgrad else [None] * len(params)
    columns = (params, unscaled(grads, grad_scale), exp_avgs, exp_avg_sqs, maxima)
    steps = [advance(step) for step in state_steps]
    apply_with(
        updates.adam,
        columns,
        options,
        steps,
        lambda n: {"correction1": 1 - beta1**n, "root_correction2": (1 - beta2**n) ** 0.5},
    )


def _refuse_tensors(what, value, foreach, capturable):
    if isinstance(value, torch.Tensor) and foreach and not capturable:
        raise ValueError(
            f"{what} as a Tensor is not supported for capturable=False and foreach=True"
        )


def _check_betas(betas, foreach, capturable):
    if isinstance(betas[0], torch.Tensor) != isinstance(betas[1], torch.Tensor):
        raise ValueError("betas must be either both floats or both Tensors")
    check_betas(betas)
    for i, beta in enumerate(betas):
        _refuse_tensors(f"betas[{i}]", beta, foreach, capturable)
        if isinstance(beta, torch.Tensor) and beta.numel() != 1:
            raise ValueError(f"Tensor betas[{i}] must be 1-element")
