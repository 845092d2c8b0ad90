"""Stochastic gradient descent."""

from facula.ops.update import fused_update

from . import updates
from .rule import UpdateRule, check, check_fused, check_lr, number, skips

__all__ = ["SGD", "sgd"]


class SGD(UpdateRule):
    """Stochastic gradient descent, with momentum if wanted.

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    """

    _host_numbers = ()

    def __init__(
        self,
        params,
        lr=1e-3,
        momentum=0,
        dampening=0,
        weight_decay=0,
        nesterov=False,
        *,
        maximize=False,
        foreach=None,
        differentiable=False,
        fused=None,
    ):
        check_lr(lr)
        check("momentum value", momentum)
        check("weight_decay value", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        check_fused(fused, foreach, differentiable)

    def __setstate__(self, state):
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("nesterov", False)

    def _update(self, group):
        params = []
        grads = []
        for param in group["params"]:
            grad = param.grad
            if grad is not None:
                params.append(param)
                grads.append(grad)
        momentum = group["momentum"]
        bufs = [None] * len(params)
        if momentum != 0:
            bufs = [self.state[param].get("momentum_buffer") for param in params]
        first = any(buf is None for buf in bufs)
        sgd(
            params,
            grads,
            bufs,
            weight_decay=group["weight_decay"],
            momentum=momentum,
            lr=group["lr"],
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            maximize=group["maximize"],
        )
        if momentum != 0 and first:
            for param, buf in zip(params, bufs, strict=True):
                self.state[param]["momentum_buffer"] = buf


def sgd(
    params,
    d_p_list,
    momentum_buffer_list,
    has_sparse_grad=False,
    foreach=None,
    fused=None,
    grad_scale=None,
    found_inf=None,
    *,
    weight_decay,
    momentum,
    lr,
    dampening,
    nesterov,
    maximize,
):
    """One step of SGD for a list of parameters; new momentum buffers are put into their list."""
    if skips(found_inf):
        return
    options = {
        "lr": number(lr),
        "momentum": momentum,
        "dampening": dampening,
        "weight_decay": number(weight_decay),
        "nesterov": nesterov,
        "maximize": maximize,
    }
    known = momentum == 0 or all(buf is not None for buf in momentum_buffer_list)
    if grad_scale is None and known:
        if fused_update(updates.sgd, (params, d_p_list, momentum_buffer_list), options):
            return
    for i, param in enumerate(params):
        grad = d_p_list[i]
        if grad_scale is not None:
            grad = grad / grad_scale
        momentum_buffer_list[i] = updates.sgd(param, grad, momentum_buffer_list[i], **options)
