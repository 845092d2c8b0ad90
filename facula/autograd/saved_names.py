"""What `grad_fn` shows of the tensors that its derivative reads: `_saved_self`, `_saved_result`, ...

The names are PyTorch's: https://docs.pytorch.org/docs/2.13/notes/autograd.html#saved-tensors
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.autograd.node import FREED, SECOND_TIME, Packed, PackedResult, Saved
from facula.graph.tape import Op

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


def positions(op: Op) -> dict[str, int]:
    """Name of each tensor that an operator's node saves -> its place in `node.saved`."""
    names = _OPERANDS.get(op.name, _DEFAULT)
    found = {names[i]: k for k, i in enumerate(op.saves_inputs) if i < len(names)}
    results, first = _RESULTS.get(op.name), len(op.saves_inputs)
    single = op.saves_outputs == (0,)
    for k, i in enumerate(op.saves_outputs, first):
        found[results[i] if results else "result" if single else f"result{i}"] = k
    return found


def _plain(name: str, k: int) -> property:
    def value(node: Any) -> Any:
        if node.saved is not FREED and node.saved[k] is None:
            return None
        # PyTorch's node has a linear layer's weight as its product reads it
        turned = node.op.name == "linear" and k == 1
        return node.tensor(k).t() if turned else node.tensor(k)

    return property(value, doc=f"The saved tensor {name!r}.")


def attributes(op: Op) -> dict[str, property]:
    """`_saved_<name>`: the tensor; `_raw_saved_<name>`: where hooks are put.

    They are attributes of the operator's class, as a `__getattr__` makes every one of a node slower.
    """
    found = {}
    for name, k in positions(op).items():
        found[f"_saved_{name}"] = _plain(name, k)
        found[f"_raw_saved_{name}"] = property(lambda node, k=k: SavedTensor(node, k))
    return found
