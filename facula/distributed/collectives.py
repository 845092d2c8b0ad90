"""Collective operations of a group of one process: each gives back what it was given."""

from __future__ import annotations

from typing import Any

import facula as torch

from .process_group import ReduceOp, Work, world


def _done(async_op: bool) -> Work | None:
    return Work() if async_op else None


def _is_root(root: int | None, name: str) -> None:
    if root not in (0, None):
        raise RuntimeError(f"ProcessGroupGloo::{name}: invalid root rank: {root}")


def _one(items: Any, name: str, what: str) -> Any:
    if len(items) != 1:
        raise RuntimeError(
            f"ProcessGroupGloo::{name}: invalid {what} tensor list at index 0 "
            f"(expected length 1, got {len(items)})"
        )
    return items[0]


def _put(target: Any, value: Any) -> None:
    with torch.no_grad():
        target.copy_(value.reshape(target.shape))


def all_reduce(
    tensor: Any, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Work | None:
    """The sum (or `op`) of all processes' tensors, in place.

    >>> import facula as torch
    >>> import facula.distributed as dist
    >>> dist.init_process_group("gloo", rank=0, world_size=1)
    >>> x = torch.ones(2)
    >>> dist.all_reduce(x)
    >>> x
    tensor([1., 1.])
    >>> dist.destroy_process_group()
    """
    world(group)
    return _done(async_op)


def reduce(
    tensor: Any,
    dst: int | None = None,
    op: Any = ReduceOp.SUM,
    group: Any = None,
    async_op: bool = False,
    group_dst: int | None = None,
) -> Work | None:
    """The sum (or `op`) of all processes' tensors, on process dst."""
    world(group)
    _is_root(dst, "reduce")
    return _done(async_op)


def broadcast(
    tensor: Any,
    src: int | None = None,
    group: Any = None,
    async_op: bool = False,
    group_src: int | None = None,
) -> Work | None:
    """Process src's tensor, everywhere."""
    world(group)
    _is_root(src, "broadcast")
    return _done(async_op)


def broadcast_object_list(
    object_list: Any,
    src: int | None = None,
    group: Any = None,
    device: Any = None,
    group_src: int | None = None,
) -> None:
    """Process src's objects, everywhere."""
    world(group)
    _is_root(src, "broadcast")


def all_gather(
    tensor_list: Any, tensor: Any, group: Any = None, async_op: bool = False
) -> Work | None:
    """All processes' tensors in a list."""
    world(group)
    _put(_one(tensor_list, "allgather", "output"), tensor)
    return _done(async_op)


def all_gather_object(object_list: Any, obj: Any, group: Any = None) -> None:
    """All processes' objects in a list."""
    world(group)
    object_list[0] = obj


def all_gather_into_tensor(
    output_tensor: Any, input_tensor: Any, group: Any = None, async_op: bool = False
) -> Work | None:
    """All processes' tensors one after the other."""
    world(group)
    _put(output_tensor, input_tensor)
    return _done(async_op)


def gather(
    tensor: Any,
    gather_list: Any = None,
    dst: int | None = None,
    group: Any = None,
    async_op: bool = False,
    group_dst: int | None = None,
) -> Work | None:
    """All processes' tensors in a list, on process dst."""
    world(group)
    _is_root(dst, "gather")
    _put(_one(gather_list or [], "gather", "output"), tensor)
    return _done(async_op)


def gather_object(
    obj: Any,
    object_gather_list: Any = None,
    dst: int | None = None,
    group: Any = None,
    group_dst: int | None = None,
) -> None:
    """All processes' objects in a list, on process dst."""
    world(group)
    _is_root(dst, "gather")
    object_gather_list[0] = obj


def scatter(
    tensor: Any,
    scatter_list: Any = None,
    src: int | None = None,
    group: Any = None,
    async_op: bool = False,
    group_src: int | None = None,
) -> Work | None:
    """One tensor of process src's list for each process."""
    world(group)
    _is_root(src, "scatter")
    _put(tensor, _one(scatter_list or [], "scatter", "input"))
    return _done(async_op)


def scatter_object_list(
    scatter_object_output_list: Any,
    scatter_object_input_list: Any = None,
    src: int | None = None,
    group: Any = None,
    group_src: int | None = None,
) -> None:
    """One object of process src's list for each process."""
    world(group)
    _is_root(src, "scatter")
    scatter_object_output_list[0] = scatter_object_input_list[0]


def reduce_scatter(
    output: Any, input_list: Any, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Work | None:
    """One of the sums of all processes' lists for each process."""
    world(group)
    _put(output, _one(input_list, "reduce_scatter", "input"))
    return _done(async_op)


def reduce_scatter_tensor(
    output: Any, input: Any, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Work | None:
    """One part of the sum of all processes' tensors for each process."""
    world(group)
    _put(output, input)
    return _done(async_op)


def all_to_all(
    output_tensor_list: Any, input_tensor_list: Any, group: Any = None, async_op: bool = False
) -> Work | None:
    """One tensor from each process's list."""
    world(group)
    _put(
        _one(output_tensor_list, "alltoall", "output"), _one(input_tensor_list, "alltoall", "input")
    )
    return _done(async_op)


def all_to_all_single(
    output: Any,
    input: Any,
    output_split_sizes: Any = None,
    input_split_sizes: Any = None,
    group: Any = None,
    async_op: bool = False,
) -> Work | None:
    """One part of each process's tensor."""
    world(group)
    _put(output, input)
    return _done(async_op)


def barrier(group: Any = None, async_op: bool = False, device_ids: Any = None) -> Work | None:
    """Waits for all processes."""
    world(group)
    return _done(async_op)


def monitored_barrier(group: Any = None, timeout: Any = None, wait_all_ranks: bool = False) -> None:
    """Waits for all processes."""
    world(group)


def _other(name: str, group: Any) -> Any:
    world(group)
    raise NotImplementedError(
        f"torch.distributed.{name}: there is one process, and no other to send to or receive from"
    )


def send(
    tensor: Any, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: Any = None
) -> None:
    """Sends a tensor to another process; there is none."""
    if dst == 0:
        raise ValueError(
            "Invalid destination rank: destination rank should not be the same as the rank of the "
            "current process."
        )
    _other("send", group)


def recv(
    tensor: Any, src: int | None = None, group: Any = None, tag: int = 0, group_src: Any = None
) -> int:
    """Receives a tensor from another process; there is none."""
    return _other("recv", group)


def isend(
    tensor: Any, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: Any = None
) -> Work | None:
    """Sends a tensor to another process; there is none."""
    return _other("isend", group)


def irecv(
    tensor: Any, src: int | None = None, group: Any = None, tag: int = 0, group_src: Any = None
) -> Work | None:
    """Receives a tensor from another process; there is none."""
    return _other("irecv", group)


def batch_isend_irecv(p2p_op_list: Any) -> list[Work]:
    """Sends and receives at once; there is no other process."""
    return _other("batch_isend_irecv", None)
