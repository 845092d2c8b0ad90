"""What `grad_fn` shows of the tensors that its derivative reads: `_saved_self`, `_saved_result`, ...

The names are PyTorch's: https://docs.pytorch.org/docs/2.13/notes/autograd.html#saved-tensors
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.autograd.node import FREED, SECOND_TIME, Packed, PackedResult, Saved

PLAIN, RAW = "_saved_", "_raw_saved_"

# operands of the operators whose names are not "self other"
_OPERANDS = {
    name: names.split()
    for names, operators in {
        "self mat2": "mm bmm",
        "self vec": "mv",
        "self tensor": "dot vdot",
        "self mat1 mat2": "addmm",
        "self batch1 batch2": "baddbmm addbmm",
        "mat1 mat2": "linear",
        "input weight bias": "convolution native_layer_norm native_batch_norm native_group_norm",
        "self exponent": "pow",
        "self end weight": "lerp",
        "condition self other": "where",
        "self target weight": "nll_loss mse_loss l1_loss smooth_l1_loss huber_loss "
        "binary_cross_entropy binary_cross_entropy_with_logits soft_margin_loss kl_div",
        "self index src": "gather scatter scatter_add index_select",
        "self indices": "index embedding",
        "self tensor1 tensor2": "addcmul addcdiv",
    }.items()
    for name in operators.split()
}
_DEFAULT = ["self", "other"]
# results with names of their own
_RESULTS = {
    "linalg_cholesky_ex": ["L"],
    "linalg_inv_ex": ["inverse"],
    **{
        name: ["", "indices"]
        for name in "max min median mode topk sort kthvalue cummax cummin".split()
    },
}


class SavedTensor:
    """One saved tensor of a node; hooks may be put around it until the backward pass."""

    def __init__(self, node: Any, k: int) -> None:
        self.node, self.k = node, k

    def register_hooks(self, pack: Callable, unpack: Callable) -> None:
        """Keeps what pack(tensor) returns in the tensor's place, to be read by unpack."""
        node, k = self.node, self.k
        if node.saved is FREED:
            raise RuntimeError(SECOND_TIME)
        kept = node.saved[k]
        if isinstance(kept, Packed):
            raise RuntimeError(
                "Calling register_hooks on a saved tensor whose hooks have already been set."
            )
        value = node.tensor(k).detach()
        if isinstance(kept, Saved):
            node.saved[k] = PackedResult(value, kept.number, (pack, unpack))
        else:
            node.saved[k] = Packed(value, (pack, unpack))


def positions(node: Any) -> dict[str, int]:
    """Name of each saved tensor of a recorded operator -> its place in `node.saved`."""
    op = node.op
    if op is None:
        return {}
    names = _OPERANDS.get(op.name, _DEFAULT)
    found: dict[str, int] = {}
    for k, i in enumerate(op.saves_inputs):
        if i < len(names):
            found[names[i]] = k
    results, first = _RESULTS.get(op.name), len(op.saves_inputs)
    for k, i in enumerate(op.saves_outputs, first):
        single = len(node.inst.outs) == 1
        found[results[i] if results else "result" if single else f"result{i}"] = k
    return found


def saved(node: Any, name: str) -> Any:
    """`grad_fn._saved_<name>`: the tensor; `grad_fn._raw_saved_<name>`: where hooks are put."""
    raw = name.startswith(RAW)
    k = positions(node).get(name.removeprefix(RAW if raw else PLAIN))
    if k is None:
        raise AttributeError(f"'{type(node).__name__}' object has no attribute '{name}'")
    if raw:
        return SavedTensor(node, k)
    if node.saved is not FREED and node.saved[k] is None:
        return None
    value = node.tensor(k)
    # PyTorch's node has the weight as its product reads it
    return value.t() if node.op.name == "linear" and k == 1 else value
