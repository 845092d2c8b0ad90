"""The group of all processes: one process, until there can be more."""

from __future__ import annotations

import enum
import os
from typing import Any


class ProcessGroup:
    """Processes that work together: this one."""

    def __init__(self, backend: str = "undefined") -> None:
        self._backend = backend

    def rank(self) -> int:
        """The number of this process in the group."""
        return 0

    def size(self) -> int:
        """How many processes the group has."""
        return 1

    def name(self) -> str:
        """The backend's name."""
        return self._backend


class Work:
    """A collective operation under way; with one process it is done when it is asked for."""

    def wait(self, timeout: Any = None) -> bool:
        """True: it is done."""
        return True

    def is_completed(self) -> bool:
        """True: it is done."""
        return True

    is_success = is_completed


class ReduceOp(enum.Enum):
    """How values of several processes become one."""

    SUM, AVG, PRODUCT, MIN, MAX, BAND, BOR, BXOR, PREMUL_SUM = range(9)


class Backend(str):
    """The name of what moves the data: "gloo", "nccl", "mpi"."""

    UNDEFINED, GLOO, NCCL, UCC, MPI, XCCL = "undefined", "gloo", "nccl", "ucc", "mpi", "xccl"

    def __new__(cls, name: str) -> Backend:
        if not isinstance(name, str):
            raise ValueError(f"Backend constructor parameter must be string-ish: {name}")
        return super().__new__(cls, name.lower())


class GroupMember:
    """Whether this process is in a group."""

    WORLD: Any = None
    NON_GROUP_MEMBER = object()


class _World(type):
    @property
    def WORLD(cls) -> Any:
        return GroupMember.WORLD


class group(metaclass=_World):
    """The group of all processes, as `group.WORLD`."""


def is_available() -> bool:
    """Whether several processes can work together: not yet."""
    return False


def is_initialized() -> bool:
    """Whether `init_process_group` was called."""
    return GroupMember.WORLD is not None


def is_nccl_available() -> bool:
    """Whether NCCL can be used."""
    return False


def is_mpi_available() -> bool:
    """Whether MPI can be used."""
    return False


def is_gloo_available() -> bool:
    """Whether Gloo can be used between processes."""
    return False


is_ucc_available = is_torchelastic_launched = is_mpi_available


def _from_env(name: str) -> int:
    try:
        return int(os.environ[name])
    except KeyError:
        raise ValueError(
            "Error initializing torch.distributed using env:// rendezvous: environment variable "
            f"{name} expected, but not set"
        ) from None


def init_process_group(
    backend: str | None = None,
    init_method: str | None = None,
    timeout: Any = None,
    world_size: int = -1,
    rank: int = -1,
    store: Any = None,
    group_name: str = "",
    pg_options: Any = None,
    device_id: Any = None,
) -> None:
    """Makes the group of all processes, which must be one.

    rank and world_size come from the environment (RANK, WORLD_SIZE) where they are not given.

    >>> import facula as torch
    >>> torch.distributed.init_process_group("gloo", rank=0, world_size=1)
    >>> torch.distributed.get_world_size()
    1
    >>> torch.distributed.destroy_process_group()
    """
    if is_initialized():
        raise ValueError("trying to initialize the default process group twice!")
    if (store is None and init_method is None) or init_method == "env://":
        rank = _from_env("RANK") if rank == -1 else rank
        world_size = _from_env("WORLD_SIZE") if world_size == -1 else world_size
    name = Backend("gloo" if backend is None else backend)
    kinds = [part.rpartition(":")[2] for part in name.split(",")]  # "cpu:gloo,cuda:nccl"
    if "gloo" not in kinds:
        if not {"nccl", "mpi", "ucc", "xccl"} & set(kinds):
            raise ValueError(f"Unknown backend type {name}")
        raise NotImplementedError(
            f"torch.distributed.init_process_group: backend '{name}' is not there yet; one process "
            "can use 'gloo'"
        )
    if world_size != 1 or rank != 0:
        raise NotImplementedError(
            "torch.distributed.init_process_group: facula trains in one process for now, which "
            f"keeps every core busy, and got rank {rank} of {world_size}; start the program "
            "without a launcher, or with world_size=1"
        )
    GroupMember.WORLD = ProcessGroup(name)


def destroy_process_group(group: Any = None) -> None:
    """Forgets a group; by default the group of all processes."""
    if not is_initialized():
        raise AssertionError("Process group cannot be None")
    if group is None or group is GroupMember.WORLD:
        GroupMember.WORLD = None


def world(group: Any = None) -> ProcessGroup:
    """A group, by default that of all processes; ValueError if there is none."""
    if not is_initialized():
        raise ValueError(
            "Default process group has not been initialized, please make sure to call "
            "init_process_group."
        )
    return GroupMember.WORLD if group is None else group


def new_group(
    ranks: Any = None,
    timeout: Any = None,
    backend: Any = None,
    pg_options: Any = None,
    use_local_synchronization: bool = False,
    group_desc: Any = None,
    device_id: Any = None,
) -> Any:
    """A group of some of the processes."""
    name = world().name() if backend is None else Backend(backend)
    chosen = [0] if ranks is None else list(ranks)
    if len(chosen) > 1:
        raise ValueError(
            "the new group's world size should be less or equal to the world size set by "
            "init_process_group"
        )
    if any(rank != 0 for rank in chosen):
        raise ValueError(
            "The new group's rank should be within the world_size set by init_process_group"
        )
    return ProcessGroup(name) if chosen else GroupMember.NON_GROUP_MEMBER


def _outside(group: Any) -> bool:
    return group is GroupMember.NON_GROUP_MEMBER


def get_rank(group: Any = None) -> int:
    """The number of this process: 0, or -1 outside the group."""
    return -1 if _outside(group) else world(group).rank()


def get_world_size(group: Any = None) -> int:
    """How many processes there are: 1, or -1 outside the group."""
    return -1 if _outside(group) else world(group).size()


def get_backend(group: Any = None) -> Any:
    """The name of the group's backend."""
    return Backend(world(group).name())


def get_process_group_ranks(group: Any = None) -> list[int]:
    """The numbers of the group's processes."""
    world(group)
    return [0]


def _same_rank(rank: int) -> int:
    if rank != 0:
        raise ValueError(f"Global rank {rank} is not part of group")
    return 0


def get_group_rank(group: Any, global_rank: int) -> int:
    """The number within a group of a process."""
    world(group)
    return _same_rank(global_rank)


def get_global_rank(group: Any, group_rank: int) -> int:
    """The number of a process of a group."""
    world(group)
    return _same_rank(group_rank)
