"""The demo: its data, its drawings, and that it learns. The whole of it runs with `make demo`."""

import io
import itertools
import re

import numpy as np
import pytest

import facula as torch
import facula.nn as nn
from facula.demo import __main__ as demo
from facula.demo import graph
from facula.demo.progress import Progress


def test_the_packaged_digits():
    train, test = demo.load(None, train=True), demo.load(None, train=False)
    assert train.tensors[0].shape == (12000, 1, 28, 28)
    assert test.tensors[1].shape == (2000,)
    assert np.bincount(train.tensors[1].numpy()).tolist() == [
        1184, 1353, 1195, 1299, 1109, 1078, 1221, 1240, 1175, 1146
    ]  # fmt: skip
    assert abs(train.tensors[0].mean().item()) < 0.01  # they are standardized
    assert abs(train.tensors[0].std().item() - 1) < 0.01


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte"):
        demo.load(tmp_path, train=True)


def test_it_learns(capsys):
    torch.manual_seed(0)
    images, labels = demo.load(None, train=True)[:1024]
    data = torch.utils.data.TensorDataset(images, labels)
    model = nn.Sequential(nn.Flatten(), demo.MyTinyNet())
    losses = demo.train("MLP", model, data, epochs=2)
    assert len(losses) == 32
    assert np.mean(losses[-8:]) < 0.8 < 2 < losses[0]
    assert capsys.readouterr().out.count("images/s") == 2


def test_the_graph_names_operators_parameters_and_shapes():
    model = demo.SmallCNN()
    loss = nn.functional.cross_entropy(model(torch.zeros(2, 1, 28, 28)), torch.tensor([1, 2]))
    page = graph.page(loss, "a title", model.named_parameters())
    titles = set(re.findall(r"<title>([^,<]+), ", page))
    assert {name for name, _ in model.named_parameters()} <= titles
    assert {"Convolution", "Relu", "Addmm", "NllLoss"} <= titles
    assert "2 × 32 × 11 × 11" in page and "scalar" in page


def test_boxes_of_a_row_do_not_overlap():
    x = torch.ones(3, requires_grad=True)
    y = x
    for _ in range(3):
        y = (y * 2 + x.exp()) * (y + x)
    root = graph.boxes_of(y.sum(), {id(x): "x"})
    rows = graph.rows_of(root)
    graph.place(rows)
    assert [box.title for box in rows[-1]] == ["x"]
    for row in rows:
        for left, right in itertools.pairwise(row):
            assert left.x + left.width / 2 < right.x - right.width / 2
    for box in (box for row in rows for box in row):
        assert all(other.row == box.row + 1 for other in box.inputs)


def test_the_bar_on_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    bar = Progress("epoch 1/1", [1, 2], total=2, stream=out)
    for _ in bar:
        bar.show(loss=1.5, accuracy=0.5, images=1)
    lines = out.getvalue().split("\r")
    assert lines[-1].startswith("epoch 1/1 ━━━")
    assert "loss 1.500  accuracy 50.00 %" in lines[-1]
