"""SummaryWriter: what it writes where the tensorboard package is there, and what it says where not."""

import sys

import numpy as np
import pytest

import facula as torch
from facula.utils.tensorboard import SummaryWriter, _pixels


def test_without_the_package(tmp_path, monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'facula\[tensorboard\]'"):
        SummaryWriter(tmp_path)


def test_pixels():
    grey = torch.tensor([[0.0, 1.0], [0.5, 2.0]])
    assert _pixels(grey, "HW")[..., 2].tolist() == [[0, 255], [127, 255]]
    many = torch.arange(3, dtype=torch.uint8).reshape(3, 1, 1, 1).expand(3, 1, 2, 2)
    assert _pixels(many, "NCHW")[::2, ::2, 0].tolist() == [[0, 1], [2, 0]]
    with pytest.raises(ValueError, match="dataformats 'CHW' does not fit"):
        _pixels(grey, "CHW")


def test_what_is_written(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with SummaryWriter(tmp_path) as writer:
        writer.add_scalar("loss", torch.tensor(0.5), 3)
        writer.add_scalars("both", {"a": 1.0, "b": 2.0}, 4)
        writer.add_histogram("weights", torch.tensor([1.0, 2.0, 2.0, -1.0]), 5)
        writer.add_image("picture", torch.ones(3, 4, 5), 6)
        writer.add_text("note", "hello", 7)
        with pytest.raises(ValueError, match="one element, got 2"):
            writer.add_scalar("loss", torch.ones(2))
        with pytest.raises(NotImplementedError, match=r"add_graph is not there: facula\.explain"):
            writer.add_graph(None)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    (loss,) = events.Scalars("loss")
    assert (loss.step, loss.value) == (3, 0.5)
    (image,) = events.Images("picture")
    assert (image.width, image.height) == (5, 4)
    (histogram,) = events.Histograms("weights")
    value = histogram.histogram_value
    assert (value.min, value.max, value.num, value.sum, value.sum_squares) == (-1, 2, 4, 4, 10)
    assert sum(value.bucket) == 4 and len(value.bucket) == len(value.bucket_limit)
    at = np.searchsorted(value.bucket_limit, 1.99)
    assert value.bucket[at] == 2
    (text,) = events.Tensors("note/text_summary")
    assert text.tensor_proto.string_val[0] == b"hello"
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["both_a", "both_b"]
