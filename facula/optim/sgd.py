"""Stochastic gradient descent."""

import operator

from facula.ops.update import fused_again, fused_update

from . import updates
from .rule import UpdateRule, check, check_fused, check_lr, number, skips, unscaled

__all__ = ["SGD", "sgd"]

_is_sparse = operator.attrgetter("is_sparse")


class SGD(UpdateRule):
    """Stochastic gradient descent, with momentum if wanted.

    >>> import facula as torch
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = torch.optim.SGD([w], lr=0.1, momentum=0.9)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([0.8000])
    """

    _host_numbers = ()
    _added_options = UpdateRule._added_options | {"fused": False}

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
        state = self.state
        if momentum != 0:
            bufs = [state[param].get("momentum_buffer") for param in params]
            first = [i for i, buf in enumerate(bufs) if buf is None]
        else:
            bufs = [None] * len(params)
            first = ()
        options = {
            "lr": number(group["lr"]),
            "momentum": momentum,
            "dampening": group["dampening"],
            "weight_decay": number(group["weight_decay"]),
            "nesterov": group["nesterov"],
            "maximize": group["maximize"],
        }
        _step(params, grads, bufs, options)
        for i in first:
            state[params[i]]["momentum_buffer"] = bufs[i]


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
    if found_inf is not None and skips(found_inf):
        return
    grads = unscaled(d_p_list, grad_scale)
    options = {
        "lr": number(lr),
        "momentum": momentum,
        "dampening": dampening,
        "weight_decay": number(weight_decay),
        "nesterov": nesterov,
        "maximize": maximize,
    }
    _step(params, grads, momentum_buffer_list, options)


def _step(params, grads, bufs, options):
    known = options["momentum"] == 0 or all(buf is not None for buf in bufs)
    if known and fused_again(updates.sgd, (params, grads, bufs), options):
        return
    if any(map(_is_sparse, grads)):
        params, grads = sgd_sparse(params, grads, options)
        bufs = [None] * len(params)
        known = True
    if known and fused_update(updates.sgd, (params, grads, bufs), options):
        return
    for i, param in enumerate(params):  # a first step makes buffers, which are results of it
        bufs[i] = updates.sgd(param, grads[i], bufs[i], **options)


def sgd_sparse(params, grads, options):
    """Steps the parameters with sparse gradients; returns the others with theirs.

    Only the rows named are touched.
    """
    if options["momentum"] != 0:
        raise NotImplementedError(
            "SGD with momentum and sparse gradients: use momentum=0, SparseAdam or sparse=False"
        )
    rate = options["lr"] if options["maximize"] else -options["lr"]
    for param, grad in zip(params, grads, strict=True):
        if grad.is_sparse:
            if options["weight_decay"] != 0:
                raise RuntimeError(
                    "add(sparse, dense) is not supported. Use add(dense, sparse) instead."
                )
            grad = grad.coalesce()
            rows = tuple(grad.indices())
            param.index_put_(rows, param[rows].add(grad.values(), alpha=rate))
    dense = [(param, grad) for param, grad in zip(params, grads, strict=True) if not grad.is_sparse]
    return [param for param, _ in dense], [grad for _, grad in dense]
