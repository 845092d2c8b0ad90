"""An optimizer on other parameters for a while."""

from collections import defaultdict
from contextlib import contextmanager

__all__ = ["swap_in_optimizer_params_and_state"]


@contextmanager
def swap_in_optimizer_params_and_state(optimizer, swapin_parameters, swapin_optim_state):
    """Replaces an optimizer's parameters and state inside a `with` block.

    `swapin_parameters` are named tensors in the order of the optimizer's parameters,
    `swapin_optim_state` is what `state_dict()` returns. Only what is written into its tensors in
    place outlasts the block.
    """
    live_state, live_groups = optimizer.state, optimizer.param_groups
    saved_groups = swapin_optim_state["param_groups"]
    if [len(g["params"]) for g in live_groups] != [len(g["params"]) for g in saved_groups]:
        raise ValueError("the state to swap in has groups of other sizes than the optimizer")
    tensors = list(swapin_parameters.values())
    if len(tensors) != sum(len(group["params"]) for group in live_groups):
        raise ValueError(
            f"expected {sum(len(group['params']) for group in live_groups)} parameters to swap "
            f"in, got {len(tensors)}"
        )
    rest = iter(tensors)
    groups, tensor_of = [], {}
    for saved in saved_groups:
        params = [next(rest) for _ in saved["params"]]
        tensor_of.update(zip(saved["params"], params))
        groups.append({**saved, "params": params})
    state = defaultdict(dict)
    for key, value in swapin_optim_state["state"].items():
        state[tensor_of.get(key, key)] = dict(value) if isinstance(value, dict) else value
    optimizer.state, optimizer.param_groups = state, groups
    try:
        yield
    finally:
        optimizer.state, optimizer.param_groups = live_state, live_groups
