"""MNIST and Fashion-MNIST datasets, on small files of the same layout."""

import gzip
import io
import struct
import urllib.error
from importlib.resources import files

import numpy as np
import pytest

import facula
from facula.datasets import MNIST, FashionMNIST, mnist
from facula.utils.data import DataLoader


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


IMAGES = (np.arange(5 * 28 * 28) % 256).reshape(5, 28, 28)
LABELS = np.array([3, 1, 4, 1, 5])


def put(folder, part="train", images=IMAGES, labels=LABELS, pack=gzip.compress):
    folder.mkdir(parents=True, exist_ok=True)
    suffix = ".gz" if pack is gzip.compress else ""
    (folder / f"{part}-images-idx3-ubyte{suffix}").write_bytes(pack(idx(images)))
    (folder / f"{part}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(labels)))


@pytest.mark.parametrize("place", ["", "MNIST/raw"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_where_files_may_be(tmp_path, place, pack):
    put(tmp_path / place, pack=pack)
    digits = MNIST(tmp_path)
    assert len(digits) == 5 and digits.targets.tolist() == LABELS.tolist()
    assert digits.data.dtype is facula.uint8 and tuple(digits.data.shape) == (5, 28, 28)


def test_samples(tmp_path):
    put(tmp_path, "t10k")
    image, label = MNIST(tmp_path, train=False)[1]
    assert label == 1 and image.dtype is facula.float32 and tuple(image.shape) == (1, 28, 28)
    assert np.array_equal(image.numpy()[0], IMAGES[1].astype(np.float32) / 255)
    digits = MNIST(
        tmp_path, train=False, transform=lambda x: int(x[0, 1]), target_transform=lambda y: -y
    )
    assert digits[0] == (1, -3)


def test_in_a_loader(tmp_path):
    put(tmp_path)
    batches = list(DataLoader(MNIST(tmp_path), batch_size=4))
    assert [tuple(x.shape) for x, _ in batches] == [(4, 1, 28, 28), (1, 1, 28, 28)]
    assert batches[0][1].tolist() == [3, 1, 4, 1]
    assert batches[1][0].tolist()[0] == MNIST(tmp_path)[4][0].tolist()


def test_subclasses_decide_what_a_sample_is(tmp_path):
    class Labels(MNIST):
        def __getitem__(self, index):
            return super().__getitem__(index)[1]

    put(tmp_path / "Labels/raw")
    assert [b.tolist() for b in DataLoader(Labels(tmp_path), batch_size=5)] == [LABELS.tolist()]


def test_the_subset_that_ships_with_facula():
    digits = MNIST(files("facula.data_files"), train=False)
    assert len(digits) == len(digits.targets) > 0
    assert set(digits.targets.tolist()) == set(range(10))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        FashionMNIST(tmp_path)
    assert isinstance(error.value, RuntimeError)
    text = str(error.value)
    assert "download=True" in text
    for place in ("FashionMNIST/raw/train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"):
        assert str(tmp_path / place) in text


@pytest.mark.parametrize(
    "images, labels, message",
    [
        (IMAGES, LABELS[:4], "5 images but .* has 4 labels"),
        (IMAGES[0], LABELS, "not bytes in 3 dims"),
        (IMAGES, LABELS + 9, "has the label 14; there are 10 classes"),
    ],
)
def test_files_that_do_not_belong_together(tmp_path, images, labels, message):
    put(tmp_path, images=images, labels=labels)
    with pytest.raises(ValueError, match=message):
        MNIST(tmp_path)


def test_download(tmp_path, monkeypatch):
    put(tmp_path / "server")
    asked = []

    def urlopen(url, timeout):
        asked.append(url)
        return io.BytesIO((tmp_path / "server" / url.rpartition("/")[2]).read_bytes())

    monkeypatch.setattr(mnist.urllib.request, "urlopen", urlopen)
    assert len(MNIST(tmp_path / "root", download=True)) == 5
    assert len(asked) == 2 and len(MNIST(tmp_path / "root")) == 5


def test_a_download_that_fails(tmp_path, monkeypatch):
    def urlopen(url, timeout):
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(mnist.urllib.request, "urlopen", urlopen)
    with pytest.raises(RuntimeError, match="no network here"):
        MNIST(tmp_path, download=True)
    monkeypatch.setattr(mnist.urllib.request, "urlopen", lambda u, timeout: io.BytesIO(b"<html>"))
    with pytest.raises(RuntimeError, match="not an IDX file"):
        MNIST(tmp_path, download=True)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
