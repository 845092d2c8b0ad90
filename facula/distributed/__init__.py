"""Several processes: not there yet. Programs that ask first find one process.

What needs a process group raises an error that says so.
"""

from __future__ import annotations

import enum
from typing import Any


class ProcessGroup:
    """Processes that work together: a name for annotations."""


class Work:
    """A collective operation under way: a name for annotations."""


class ReduceOp(enum.Enum):
    """How values of several processes become one."""

    SUM, AVG, PRODUCT, MIN, MAX, BAND, BOR, BXOR, PREMUL_SUM = range(9)


class GroupMember:
    """Whether this process is in a group."""

    WORLD: Any = None
    NON_GROUP_MEMBER = object()


class group:
    """The group of all processes."""

    WORLD: Any = None


def is_available() -> bool:
    """Whether several processes can work together: not yet."""
    return False


def is_initialized() -> bool:
    """Whether `init_process_group` was called."""
    return False


def is_nccl_available() -> bool:
    """Whether NCCL can be used."""
    return False


is_gloo_available = is_mpi_available = is_ucc_available = is_torchelastic_launched = (
    is_nccl_available
)


def _no_group(name: str) -> Any:
    def function(*args: Any, **kwargs: Any) -> Any:
        if name == "init_process_group":
            raise NotImplementedError(
                "torch.distributed.init_process_group: facula trains in one process for now; ask "
                "torch.distributed.is_available() first, or start the program without a launcher"
            )
        raise ValueError(
            "Default process group has not been initialized, please make sure to call "
            "init_process_group."
        )

    function.__name__, function.__doc__ = name, "Needs a process group, which is not there yet."
    return function


_NAMES = """
init_process_group destroy_process_group get_rank get_world_size get_backend new_group barrier
monitored_barrier all_reduce reduce broadcast broadcast_object_list all_gather all_gather_object
all_gather_into_tensor gather gather_object scatter scatter_object_list reduce_scatter
reduce_scatter_tensor all_to_all all_to_all_single send recv isend irecv batch_isend_irecv
get_group_rank get_global_rank get_process_group_ranks
""".split()
globals().update({name: _no_group(name) for name in _NAMES})
