"""Adam for sparse gradients."""

import facula as torch

from . import updates
from .rule import UpdateRule, check_betas, number

__all__ = ["SparseAdam"]


class SparseAdam(UpdateRule):
    """Adam that touches only the rows named by sparse gradients, as embeddings make them.

    optimizer = torch.optim.SparseAdam(embedding.parameters())
    """

    _added_options = {}
    _host_numbers = ()  # "step" is a plain int here

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, maximize=False):
        if isinstance(lr, torch.Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not lr > 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not eps > 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        check_betas(betas)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize}
        super().__init__(params, defaults)
        params = [param for group in self.param_groups for param in group["params"]]
        if any(param.is_complex() for param in params):
            raise ValueError("SparseAdam does not support complex parameters")
        sparse = [i for i, param in enumerate(params) if param.is_sparse]
        if sparse:
            raise ValueError(
                f"Sparse params at indices {sparse}: SparseAdam requires dense parameter tensors"
            )

    def _begin(self, param, grad, group):
        return {
            "step": 0,
            "exp_avg": torch.zeros_like(param),
            "exp_avg_sq": torch.zeros_like(param),
        }

    def _update(self, group):
        params, grads, exp_avgs, exp_avg_sqs = self._gather(group, "exp_avg", "exp_avg_sq")
        beta1, beta2 = group["betas"]
        options = {
            "lr": number(group["lr"]),
            "beta1": beta1,
            "beta2": beta2,
            "eps": group["eps"],
            "maximize": group["maximize"],
        }
        for param, grad, exp_avg, exp_avg_sq in zip(
            params, grads, exp_avgs, exp_avg_sqs, strict=True
        ):
            if not grad.is_sparse:
                raise RuntimeError(
                    "SparseAdam does not support dense gradients, please consider Adam instead"
                )
            state = self.state[param]
            state["step"] = step = state["step"] + 1
            updates.sparse_adam(
                param,
                grad,
                exp_avg,
                exp_avg_sq,
                **options,
                correction1=1 - beta1**step,
                correction2=1 - beta2**step,
            )
