"""NAdam: Adam with Nesterov momentum."""

import facula as torch

from . import updates
from .rule import UpdateRule, apply_with, check, check_betas, check_lr, number, refuse_sparse
from .state import HostNumber, advance, read, scalar_dtype, write

__all__ = ["NAdam", "nadam"]


class NAdam(UpdateRule):
    """Adam with Nesterov momentum, which is warmed up by `momentum_decay`.

    optimizer = torch.optim.NAdam(model.parameters())
    """

    _host_numbers = ("step", "mu_product")

    def __init__(
        self,
        params,
        lr=2e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        momentum_decay=4e-3,
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
        check("momentum_decay value", momentum_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state):
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("decoupled_weight_decay", False)

    def _begin(self, param, grad, group):
        refuse_sparse("NAdam", [grad])
        dtype = scalar_dtype()
        return {
            "step": HostNumber(0.0, dtype),
            "mu_product": HostNumber(1.0, dtype),
            "exp_avg": torch.zeros_like(param),
            "exp_avg_sq": torch.zeros_like(param),
        }

    def _update(self, group):
        params, grads, steps, mu_products, exp_avgs, exp_avg_sqs = self._gather(
            group, "step", "mu_product", "exp_avg", "exp_avg_sq"
        )
        beta1, beta2 = group["betas"]
        nadam(
            params,
            grads,
            exp_avgs,
            exp_avg_sqs,
            mu_products,
            steps,
            decoupled_weight_decay=group["decoupled_weight_decay"],
            maximize=group["maximize"],
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            momentum_decay=group["momentum_decay"],
            eps=group["eps"],
        )


def nadam(
    params,
    grads,
    exp_avgs,
    exp_avg_sqs,
    mu_products,
    state_steps,
    decoupled_weight_decay=False,
    foreach=None,
    capturable=False,
    differentiable=False,
    has_complex=False,
    maximize=False,
    *,
    beta1,
    beta2,
    lr,
    weight_decay,
    momentum_decay,
    eps,
):
    """One step of NAdam for a list of parameters."""
    options = {
        "lr": number(lr),
        "beta1": beta1,
        "beta2": beta2,
        "eps": eps,
        "weight_decay": weight_decay,
        "decoupled": decoupled_weight_decay,
        "maximize": maximize,
    }

    def weights(key):
        step, product, mu, mu_next = key
        return {
            "correction2": 1 - beta2**step,
            "grad_weight": (1.0 - mu) / (1.0 - product),
            "momentum_weight": mu_next / (1.0 - product * mu_next),
        }

    keys = []
    for count, product in zip(state_steps, mu_products):
        step = advance(count)
        mu = beta1 * (1.0 - 0.5 * 0.96 ** (step * momentum_decay))
        mu_next = beta1 * (1.0 - 0.5 * 0.96 ** ((step + 1) * momentum_decay))
        keys.append((step, write(product, read(product) * mu), mu, mu_next))
    apply_with(updates.nadam, (params, grads, exp_avgs, exp_avg_sqs), options, keys, weights)
