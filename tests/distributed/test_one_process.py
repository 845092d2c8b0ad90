"""Programs for several processes run in one; figures and errors are PyTorch 2.13's with gloo."""

import copy

import pytest

import facula as torch
import facula.distributed as dist
from facula import nn
from facula.nn.parallel import DistributedDataParallel


@pytest.fixture
def group():
    dist.init_process_group("gloo", rank=0, world_size=1)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def test_without_a_group():
    assert not (dist.is_available() or dist.is_initialized())
    for call in (dist.get_rank, dist.get_world_size, dist.barrier, dist.get_backend):
        with pytest.raises(ValueError, match="has not been initialized"):
            call()
    with pytest.raises(ValueError, match="has not been initialized"):
        DistributedDataParallel(nn.Linear(2, 2))
    with pytest.raises(AssertionError):
        dist.destroy_process_group()


def test_the_environment_is_read(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ValueError, match="environment variable RANK expected, but not set"):
        dist.init_process_group("gloo")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    dist.init_process_group("gloo")
    assert dist.get_backend() == "gloo" and dist.group.WORLD is dist.GroupMember.WORLD
    with pytest.raises(ValueError, match="twice"):
        dist.init_process_group("gloo")
    dist.destroy_process_group()
    assert not dist.is_initialized() and dist.group.WORLD is None


def test_more_processes_are_refused():
    with pytest.raises(NotImplementedError, match="one process"):
        dist.init_process_group("gloo", rank=0, world_size=2)
    with pytest.raises(NotImplementedError, match="gloo"):
        dist.init_process_group("nccl", rank=0, world_size=1)
    assert not dist.is_initialized()


def test_collectives_give_back_what_they_get(group):
    assert (dist.get_rank(), dist.get_world_size()) == (0, 1)
    x, y = torch.arange(3.0), torch.zeros(3)
    assert dist.all_reduce(x) is None
    assert dist.all_reduce(x, op=dist.ReduceOp.AVG, async_op=True).wait()
    dist.broadcast(x, src=0)
    dist.barrier()
    for call in (
        lambda: dist.all_gather([y], x),
        lambda: dist.gather(x, [y]),
        lambda: dist.scatter(y, [x]),
        lambda: dist.all_gather_into_tensor(y, x),
        lambda: dist.reduce_scatter(y, [x]),
        lambda: dist.all_to_all_single(y, x),
    ):
        y.zero_()
        call()
        assert y.tolist() == x.tolist() == [0, 1, 2]
    objects = [None]
    dist.all_gather_object(objects, {"a": 1})
    assert objects == [{"a": 1}]
    with pytest.raises(RuntimeError, match=r"expected length 1, got 2"):
        dist.all_gather([y, y], x)
    with pytest.raises(RuntimeError, match="invalid root rank: 1"):
        dist.broadcast(x, 1)
    with pytest.raises(NotImplementedError, match="no other"):
        dist.recv(x, 1)
    some = dist.new_group([0])
    assert (dist.get_rank(some), some.size()) == (0, 1)
    with pytest.raises(ValueError, match="world size"):
        dist.new_group([0, 1])


def test_a_wrapped_model_trains_as_the_model_itself(group):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    model = DistributedDataParallel(copy.deepcopy(plain))
    assert [*model.state_dict()] == [f"module.{name}" for name in plain.state_dict()]
    x = torch.randn(4, 2)
    for net in (plain, model):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            net(x).pow(2).mean().backward()
            optimizer.step()
    for a, b in zip(plain.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    with model.no_sync():
        assert not model.require_backward_grad_sync
    assert model.require_backward_grad_sync and type(copy.deepcopy(model)) is type(model)
    assert repr(model).startswith("DistributedDataParallel(\n  (module): Sequential(")
    model.load_state_dict(model.state_dict())


def test_models_that_are_refused(group):
    with pytest.raises(RuntimeError, match="is not needed"):
        DistributedDataParallel(nn.ReLU())
    with pytest.raises(ValueError, match="device_ids"):
        DistributedDataParallel(nn.Linear(2, 2), device_ids=[0])
