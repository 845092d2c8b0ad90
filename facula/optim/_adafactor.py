"""Adafactor: second moments of matrices kept as a row and a column."""

import facula as torch

from . import updates
from .rule import UpdateRule, number, refuse_sparse, skips
from .state import HostNumber, advance, scalar_dtype

__all__ = ["Adafactor", "adafactor"]


class Adafactor(UpdateRule):
    """Adaptive steps with little memory: a row and a column of second moments per matrix.

    optimizer = torch.optim.Adafactor(model.parameters())
    """

    _added_options = {"foreach": None}

    def __init__(
        self,
        params,
        lr=1e-2,
        beta2_decay=-0.8,
        eps=(None, 1e-3),
        d=1.0,
        weight_decay=0.0,
        *,
        foreach=None,
        maximize=False,
    ):
        if isinstance(lr, torch.Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        _at_least("Learning rate", lr, 0)
        if not beta2_decay <= 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None:
            _at_least("epsilon1", eps[0], 0)
        _at_least("epsilon2", eps[1], 0)
        _at_least("Clipping threshold d", d, 1)
        _at_least("weight_decay", weight_decay, 0)
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _begin(self, param, grad, group):
        _refuse_complex(param)
        refuse_sparse("Adafactor", [grad])
        state = {"step": HostNumber(0.0, scalar_dtype())}
        if grad.dim() > 1:
            shape = list(grad.shape)
            state["row_var"] = grad.new_zeros([*shape[:-1], 1])
            state["col_var"] = grad.new_zeros([*shape[:-2], 1, shape[-1]])
        else:
            state["variance"] = torch.zeros_like(grad)
        return state

    def _update(self, group):
        params, grads, steps, row_vars, col_vars, variances = self._gather(
            group, "step", "row_var", "col_var", "variance"
        )
        eps1, eps2 = group["eps"]
        adafactor(
            params,
            grads,
            row_vars,
            col_vars,
            variances,
            steps,
            d=group["d"],
            lr=group["lr"],
            beta2_decay=group["beta2_decay"],
            weight_decay=group["weight_decay"],
            eps1=eps1,
            eps2=eps2,
            maximize=group["maximize"],
        )


def _at_least(what, value, least):
    if not least <= value:
        raise ValueError(f"{what} should be >= {least} but is: {value}")


def _refuse_complex(param):
    if param.is_complex():
        raise RuntimeError("Adafactor does not support complex parameters")


def adafactor(
    params,
    grads,
    row_vars,
    col_vars,
    variances,
    state_steps,
    foreach=None,
    grad_scale=None,
    found_inf=None,
    has_complex=False,
    *,
    d,
    lr,
    beta2_decay,
    weight_decay,
    eps1,
    eps2,
    maximize,
):
    """One step of Adafactor for a list of parameters."""
    if skips(found_inf):
        return
    lr = number(lr)
    for i, param in enumerate(params):
        _refuse_complex(param)
        step = advance(state_steps[i])
        grad = grads[i] if grad_scale is None else grads[i] / grad_scale
        updates.adafactor(
            param,
            grad,
            row_vars[i],
            col_vars[i],
            variances[i],
            lr=lr,
            relative_step=min(lr, 1 / step**0.5),
            eps1=torch.finfo(param.dtype).eps if eps1 is None else eps1,
            eps2=eps2,
            d=d,
            weight_decay=weight_decay,
            variance_weight=step**beta2_decay,
            maximize=maximize,
        )
