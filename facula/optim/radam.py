"""RAdam: Adam that waits until its variance estimate can be trusted."""

import facula as torch

from . import updates
from .rule import UpdateRule, apply_with, check, check_betas, check_lr, number, refuse_sparse
from .state import HostNumber, advance, scalar_dtype

__all__ = ["RAdam", "radam"]


class RAdam(UpdateRule):
    """Rectified Adam: plain momentum at first, adaptive steps as the variance becomes tractable.

    optimizer = torch.optim.RAdam(model.parameters())
    """

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        decoupled_weight_decay=False,
        *,
        foreach=None,
        maximize=False,
        capturable=False,
        differentiable=False,
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
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state):
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("decoupled_weight_decay", False)

    def _begin(self, param, grad, group):
        refuse_sparse("RAdam", [grad])
        return {
            "step": HostNumber(0.0, scalar_dtype()),
            "exp_avg": torch.zeros_like(param),
            "exp_avg_sq": torch.zeros_like(param),
        }

    def _update(self, group):
        params, grads, steps, exp_avgs, exp_avg_sqs = self._gather(
            group, "step", "exp_avg", "exp_avg_sq"
        )
        beta1, beta2 = group["betas"]
        radam(
            params,
            grads,
            exp_avgs,
            exp_avg_sqs,
            steps,
            decoupled_weight_decay=group["decoupled_weight_decay"],
            maximize=group["maximize"],
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
        )


def _rectification(step, beta2, correction2):
    """The factor for the adaptive rate, or None while its variance is intractable."""
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * beta2**step / correction2
    if length <= 5:
        return None
    ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return ratio**0.5


def radam(
    params,
    grads,
    exp_avgs,
    exp_avg_sqs,
    state_steps,
    decoupled_weight_decay=False,
    foreach=None,
    differentiable=False,
    capturable=False,
    has_complex=False,
    maximize=False,
    *,
    beta1,
    beta2,
    lr,
    weight_decay,
    eps,
):
    """One step of RAdam for a list of parameters."""
    options = {
        "lr": number(lr),
        "beta1": beta1,
        "beta2": beta2,
        "eps": eps,
        "weight_decay": weight_decay,
        "decoupled": decoupled_weight_decay,
        "maximize": maximize,
    }

    def corrections(step):
        correction2 = 1 - beta2**step
        return {
            "correction1": 1 - beta1**step,
            "root_correction2": correction2**0.5,
            "rectification": _rectification(step, beta2, correction2),
        }

    steps = [advance(step) for step in state_steps]
    apply_with(updates.radam, (params, grads, exp_avgs, exp_avg_sqs), options, steps, corrections)
