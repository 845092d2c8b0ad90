"""Gradients of embeddings as sparse tensors, and who takes them; figures are PyTorch 2.13's."""

from __future__ import annotations

import pytest

import facula as torch
from facula import nn

INDICES = torch.tensor([[1, 2, 2], [4, 1, 0]])


def table(**kwargs):
    weight = torch.arange(30.0).view(10, 3) / 10
    return nn.Embedding.from_pretrained(weight.clone(), freeze=False, sparse=True, **kwargs)


def loss(model):
    return (model(INDICES) ** 2).sum()


def test_one_row_for_each_index():
    model = table()
    loss(model).backward()
    grad = model.weight.grad
    assert grad.is_sparse and not grad.is_coalesced() and grad.shape == (10, 3)
    assert grad._indices().tolist() == [[1, 2, 2, 4, 1, 0]]
    dense = nn.Embedding.from_pretrained(model.weight.detach(), freeze=False)
    loss(dense).backward()
    assert torch.equal(grad.to_dense(), dense.weight.grad)


def test_they_add_up():
    model = table(padding_idx=2)
    loss(model).backward()
    assert model.weight.grad._indices().tolist() == [[1, 4, 1, 0]]
    once = model.weight.grad.to_dense()
    loss(model).backward()
    assert model.weight.grad.is_sparse
    assert torch.equal(model.weight.grad.to_dense(), 2 * once)
    (loss(model) + loss(model)).backward()
    assert torch.equal(model.weight.grad.to_dense(), 4 * once)
    (loss(model) + model.weight.sum()).backward()
    assert not model.weight.grad.is_sparse
    assert torch.equal(model.weight.grad, 5 * once + 1)


def test_bags():
    bags = [nn.EmbeddingBag(10, 3, mode="mean", sparse=sparse) for sparse in (True, False)]
    bags[1].load_state_dict(bags[0].state_dict())
    for bag in bags:
        (bag(INDICES) ** 2).sum().backward()
    assert bags[0].weight.grad.is_sparse
    assert torch.allclose(bags[0].weight.grad.to_dense(), bags[1].weight.grad)


@pytest.mark.parametrize(
    ("name", "losses"),
    [
        ("SGD", [9.12, 4.7224]),
        ("Adagrad", [9.12, 7.13]),
        ("SparseAdam", [9.12, 7.13]),
    ],
)
def test_optimizers(name, losses):
    model = table()
    untouched = model.weight.detach()[5:].clone()
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.1)
    for want in losses:
        optimizer.zero_grad()
        value = loss(model)
        value.backward()
        optimizer.step()
        assert value.item() == pytest.approx(want, abs=2e-6)
    assert torch.equal(model.weight.detach()[5:], untouched)
    optimizer.zero_grad(set_to_none=False)
    assert model.weight.grad._nnz() == 0


def test_beside_dense_gradients():
    head = nn.Linear(3, 1)
    model = table()
    before = head.weight.detach().clone()
    optimizer = torch.optim.SGD([*model.parameters(), *head.parameters()], lr=0.1)
    head(model(INDICES)).sum().backward()
    optimizer.step()
    want = before - 0.1 * head.weight.grad
    assert torch.allclose(head.weight, want)


def test_what_is_refused():
    model = table(scale_grad_by_freq=True)
    with pytest.raises(RuntimeError, match="scale_grad_by_freq not supported with sparse"):
        loss(model).backward()
    model = table()
    loss(model).backward()
    for make, error in (
        (lambda p: torch.optim.Adam(p), RuntimeError),
        (lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.1), RuntimeError),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), NotImplementedError),
    ):
        with pytest.raises(error, match="sparse"):
            make(model.parameters()).step()
