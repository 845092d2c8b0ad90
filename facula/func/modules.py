"""Modules as functions of their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import facula as torch


def functional_call(module: Any, parameter_and_buffer_dicts: Any, args: Any = None, kwargs: dict | None = None, *,
                    tie_weights: bool = True, strict: bool = False) -> Any:  # fmt: skip
    """Calls a module with other parameters and buffers."""
    from facula.nn.utils import stateless

    given = parameter_and_buffer_dicts
    if not isinstance(given, dict):
        merged: dict = {}
        for part in given:
            for key in part:
                if key in merged:
                    raise ValueError(
                        f"{{'{key}'}} appeared in multiple dictionaries; behavior of functional call is ambiguous"
                    )
            merged.update(part)
        given = merged
    return stateless.functional_call(
        module, given, args, kwargs, tie_weights=tie_weights, strict=strict
    )


def replace_all_batch_norm_modules_(root: Any) -> Any:
    """Makes every batch norm in root forget its running statistics, in place; root itself."""
    kind = torch.nn.modules.batchnorm._BatchNorm
    for module in root.modules():
        if isinstance(module, kind) and module.track_running_stats:
            module.running_mean = None
            module.running_var = None
            module.num_batches_tracked = None
            module.track_running_stats = False
    return root


def stack_module_state(models: Sequence[Any]) -> tuple[dict, dict]:
    """(parameters, buffers) of several modules of one kind, stacked."""
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if not all(m.training == models[0].training for m in models):
        raise RuntimeError(
            "stack_module_state: Expected all models to have the same training/eval mode."
        )
    if not all(type(m) is type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    params, buffers = (
        [dict(m.named_parameters()) for m in models],
        [dict(m.named_buffers()) for m in models],
    )

    def stacked(parts: list[dict], as_leaves: bool) -> dict:
        out = {}
        for key in parts[0]:
            t = torch.stack([p[key] for p in parts]).detach()
            out[key] = t.requires_grad_() if as_leaves and parts[0][key].requires_grad else t
        return out

    return stacked(params, True), stacked(buffers, False)
