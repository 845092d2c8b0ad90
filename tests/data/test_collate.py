"""Samples into batches."""

import collections

import numpy as np
import pytest

import facula
from facula.utils.data import default_collate, default_convert
from facula.utils.data._utils.collate import collate

Point = collections.namedtuple("Point", "x y")


def plain(batch):
    """A batch with tensors as (dtype, nested list)."""
    if isinstance(batch, facula.Tensor):
        return str(batch.dtype).rpartition(".")[2], batch.tolist()
    if isinstance(batch, dict):
        return {key: plain(value) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)) and not hasattr(batch, "_fields"):
        return type(batch)(plain(item) for item in batch)
    return type(batch)(*map(plain, batch)) if hasattr(batch, "_fields") else batch


@pytest.mark.parametrize(
    "samples, batch",
    [
        ([1, 2], ("int64", [1, 2])),
        ([1.5, 2], ("float64", [1.5, 2.0])),
        ([1, 2.5], ("float32", [1.0, 2.5])),
        ([True, False], ("bool", [True, False])),
        (["a", "b"], ["a", "b"]),
        ([b"a", b"b"], [b"a", b"b"]),
        ([(1, "a"), (3, "b")], [("int64", [1, 3]), ("a", "b")]),
        ([[1, 2], [3, 4]], [("int64", [1, 3]), ("int64", [2, 4])]),
        ([{"k": 1}, {"k": 2}], {"k": ("int64", [1, 2])}),
        ([Point(1, 2.0), Point(3, 4.0)], Point(("int64", [1, 3]), ("float64", [2.0, 4.0]))),
        ([np.array([1, 2]), np.array([3, 4])], ("int64", [[1, 2], [3, 4]])),
        ([np.float32(1), np.float32(2)], ("float32", [1.0, 2.0])),
        ([np.float64(1), 2.5], ("float64", [1.0, 2.5])),
        ([np.bool_(True), np.bool_(False)], ("bool", [True, False])),
    ],
)
def test_default_collate(samples, batch):
    assert plain(default_collate(samples)) == batch


def test_tensors_are_stacked():
    rows = facula.arange(6.0).reshape(2, 3)
    assert default_collate([rows[1], rows[0]]).tolist() == [[3, 4, 5], [0, 1, 2]]
    assert default_collate([facula.tensor(2), facula.tensor(3)]).tolist() == [2, 3]
    with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
        default_collate([facula.ones(2), facula.ones(3)])


def test_a_batch_shares_no_memory_with_its_samples():
    sample = facula.zeros(2)
    batch = default_collate([sample, sample])
    sample.fill_(1.0)
    assert batch.tolist() == [[0, 0], [0, 0]]


def test_gradients_go_through():
    leaf = facula.ones(2, requires_grad=True)
    default_collate([leaf, facula.zeros(2)]).sum().backward()
    assert leaf.grad.tolist() == [1, 1]


def test_containers_keep_their_type():
    ordered = default_collate([collections.OrderedDict(a=1), collections.OrderedDict(a=2)])
    assert type(ordered) is collections.OrderedDict
    default = default_collate([collections.defaultdict(list, a=1)])
    assert default["missing"] == []
    assert type(default_collate([collections.deque([1]), collections.deque([2])])).__name__ == (
        "deque"
    )
    assert type(default_collate([range(2), range(2)])) is list


@pytest.mark.parametrize(
    "samples, error, message",
    [
        ([object()], TypeError, "batch must contain tensors, numpy arrays"),
        ([None], TypeError, "NoneType"),
        ([np.array(["a"])], TypeError, "found <U1"),
        ([[1, 2], [1]], RuntimeError, "each element in list of batch should be of equal size"),
        ([{"a": 1}, {"b": 1}], KeyError, "a"),
        ([], IndexError, "out of range"),
    ],
)
def test_what_cannot_be_collated(samples, error, message):
    with pytest.raises(error, match=message):
        default_collate(samples)


def test_own_rules():
    def total(batch, *, collate_fn_map=None):
        return sum(batch)

    assert collate([(1,), (2,)], collate_fn_map={(int, str): total}) == [3]


def test_default_convert():
    converted = default_convert([np.array([1]), "a", {"k": np.array(2.0)}, (np.int8(3),)])
    assert plain(converted) == [
        ("int64", [1]), "a", {"k": ("float64", 2.0)}, [("int8", 3)],
    ]  # fmt: skip
    text = np.array("a")
    assert default_convert(text) is text
