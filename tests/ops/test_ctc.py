"""ctc_loss against all paths, one by one."""

import itertools

import numpy as np
import pytest

import facula as torch
from facula.graph.reference_ctc import ctc

F = torch.nn.functional


def by_paths(logits, labels, blank):
    """Minus the logarithm of the probability of all paths that read as `labels`."""
    p = np.exp(logits)
    total = 0.0
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        read = [c for c, _ in itertools.groupby(path) if c != blank]
        if read == list(labels):
            total += np.prod([row[c] for row, c in zip(p, path, strict=True)])
    return -np.log(total) if total else np.inf


def normed(shape, seed=0):
    x = np.random.default_rng(seed).standard_normal(shape)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


LABELS = [[1, 2], [], [1, 1], [2], [2, 1, 2], [1, 1, 1]]
LENGTHS = [6, 4, 5, 1, 6, 4]  # the last is too short for its labels


def call(x, labels, lengths, joined, **options):
    sizes = [len(row) for row in labels]
    if joined:
        targets = torch.tensor([label for row in labels for label in row])
    else:
        targets = torch.tensor([row + [-7] * (3 - len(row)) for row in labels])  # unread
    return F.ctc_loss(x, targets, torch.tensor(lengths), torch.tensor(sizes), **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("blank", [0, 3])
def test_losses(dtype, joined, blank):
    x = normed((6, 6, 4)).astype(dtype)
    got = call(torch.tensor(x), LABELS, LENGTHS, joined, blank=blank, reduction="none")
    want = [by_paths(x[:n, i], row, blank) for i, (n, row) in enumerate(zip(LENGTHS, LABELS))]
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-5 if dtype == "float32" else 1e-12)
    assert want[-1] == np.inf


@pytest.mark.parametrize("joined", [False, True])
def test_gradients(joined):
    """Of the logits: the derivative in log_probs is right after a log_softmax only, as in PyTorch."""
    raw = np.random.default_rng(1).standard_normal((6, 6, 4))
    weight = np.arange(1.0, 7.0)

    def loss(values):
        x = torch.tensor(values, requires_grad=True)
        y = call(x.log_softmax(-1), LABELS, LENGTHS, joined, reduction="none", zero_infinity=True)
        return x, (y * torch.tensor(weight)).sum()

    x, y = loss(raw)
    y.backward()
    numeric = np.zeros_like(raw)
    for where in np.ndindex(*raw.shape):
        for sign in (1, -1):
            moved = raw.copy()
            moved[where] += sign * 1e-6
            numeric[where] += sign * loss(moved)[1].item() / 2e-6
    np.testing.assert_allclose(x.grad.numpy(), numeric, atol=1e-7)
    assert (x.grad.numpy()[:, 5] == 0).all()  # no path, but spared
    assert (x.grad.numpy()[1:, 3] == 0).all()  # after the end


def test_what_no_path_reads():
    x = torch.tensor(normed((4, 2, 3)), requires_grad=True)
    loss = call(x, [[1, 1, 1], [1]], [4, 4], False, reduction="none")
    (grad,) = torch.autograd.grad(loss, x, torch.ones(2, dtype=torch.float64))
    assert loss[0].item() == np.inf
    assert np.isnan(grad.numpy()[:, 0]).all()
    assert np.isfinite(grad.numpy()[:, 1]).all()


def test_many_states_and_classes():
    """Registers and their ends, against the NumPy meaning."""
    rng = np.random.default_rng(2)
    x, n = normed((60, 5, 37), 2), 5
    labels = [rng.integers(1, 37, k).tolist() for k in (25, 3, 0, 17, 8)]
    targets = np.array([row + [0] * (25 - len(row)) for row in labels])
    sizes, lengths = np.array([len(row) for row in labels]), np.array([60, 59, 7, 60, 33])
    t = torch.tensor(x, requires_grad=True)
    counts = (torch.tensor(v) for v in (targets, lengths, sizes))
    y = F.ctc_loss(t, *counts, reduction="none")
    (grad,) = torch.autograd.grad(y, t, torch.ones(n, dtype=torch.float64))
    want = ctc(x, targets, lengths, sizes, 0, False)
    np.testing.assert_allclose(y.detach().numpy(), want[0], rtol=1e-12)
    np.testing.assert_allclose(grad.numpy(), want[1], atol=1e-10)


def test_one_kernel():
    x = torch.tensor(normed((6, 2, 4)))
    assert len(torch.explain(call(x, [[1], [2]], [6, 6], False, reduction="none")).kernels) == 1


def test_labels_beyond_the_classes():
    with pytest.raises(IndexError, match="index 4 is out of bounds"):
        call(torch.tensor(normed((6, 2, 4))), [[1], [4]], [6, 6], True)
