"""Logs of a training run that TensorBoard shows; the `tensorboard` package writes the files.

>>> from facula.utils.tensorboard import SummaryWriter
>>> writer = SummaryWriter("runs/first")  # doctest: +SKIP
>>> writer.add_scalar("loss", 0.25, global_step=1)  # doctest: +SKIP
>>> writer.close()  # doctest: +SKIP
"""

from __future__ import annotations

import datetime
import importlib
import os
import socket
import struct
import time
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from facula import Tensor

__all__ = ["SummaryWriter"]

MISSING = (
    "SummaryWriter needs the tensorboard package, which writes the files: "
    "pip install 'facula[tensorboard]' (or pip install tensorboard)"
)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(f"tensorboard.{name}")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(MISSING, name=error.name) from error


def _array(x: Any) -> np.ndarray:
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def _number(x: Any) -> float:
    array = _array(x)
    if array.size != 1:
        raise ValueError(f"scalar should have one element, got {array.size}")
    return float(array.reshape(()))


def _png(image: np.ndarray) -> bytes:
    """height x width x 3 bytes as a PNG file."""
    height, width, _ = image.shape
    lines = b"".join(b"\0" + row.tobytes() for row in image)  # filter 0 before each line
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def _pixels(image: Any, dataformats: str) -> np.ndarray:
    """An image as height x width x 3 bytes; floating ones go from 0 to 1."""
    a, names = _array(image), dataformats.upper()
    if a.ndim != len(names) or set(names) - set("NCHW"):
        raise ValueError(f"dataformats {dataformats!r} does not fit an image of shape {a.shape}")
    if "C" not in names:
        a, names = a[..., None], names + "C"
    if "N" in names:  # side by side, as many to a row as there are rows
        a = a.transpose([names.index(c) for c in "NHWC"])
        columns = int(np.ceil(np.sqrt(len(a))))
        rows = -(-len(a) // columns)
        full = np.zeros((rows * columns, *a.shape[1:]), a.dtype)
        full[: len(a)] = a
        h, w, c = a.shape[1:]
        full = full.reshape(rows, columns, h, w, c).transpose(0, 2, 1, 3, 4)
        a = full.reshape(rows * h, columns * w, c)
    else:
        a = a.transpose([names.index(c) for c in "HWC"])
    if a.dtype != np.uint8:
        a = np.clip(a * 255.0, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(a, 3, 2) if a.shape[2] == 1 else a[..., :3])


def _default_edges() -> np.ndarray:
    """TensorFlow's: growing by a tenth, both signs."""
    count = int(np.ceil(np.log(1e20 / 1e-12) / np.log(1.1)))
    up = 1e-12 * 1.1 ** np.arange(count)
    return np.concatenate([-up[::-1], [0.0], up])


class SummaryWriter:
    """Writes scalars, histograms, images and texts for TensorBoard; a context manager.

    log_dir: where to; by default `runs/<date>_<host><comment>`. ModuleNotFoundError, saying what to
    install, where the tensorboard package is missing.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike | None = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: int = 120,
        filename_suffix: str = "",
    ) -> None:
        if not log_dir:
            now = datetime.datetime.now().strftime("%b%d_%H-%M-%S")
            log_dir = os.path.join("runs", f"{now}_{socket.gethostname()}{comment}")
        self.log_dir = os.fspath(log_dir)
        self._options = (max_queue, flush_secs, filename_suffix)
        self._summary = _module("compat.proto.summary_pb2")
        self._event = _module("compat.proto.event_pb2")
        self._writers = {"": self._open(self.log_dir)}
        if purge_step is not None:
            start = self._event.SessionLog(status=self._event.SessionLog.START)
            self._write(self._event.Event(step=purge_step, file_version="brain.Event:2"), None)
            self._write(self._event.Event(step=purge_step, session_log=start), None)

    def _open(self, folder: str) -> Any:
        module = _module("summary.writer.event_file_writer")
        return module.EventFileWriter(folder, *self._options)

    def get_logdir(self) -> str:
        """The folder of the logs."""
        return self.log_dir

    def _write(self, event: Any, walltime: float | None, run: str = "") -> None:
        if not self._writers:
            self._writers[""] = self._open(self.log_dir)  # written to after close()
        if run not in self._writers:
            self._writers[run] = self._open(os.path.join(self.log_dir, run))
        event.wall_time = time.time() if walltime is None else walltime
        self._writers[run].add_event(event)

    def _add(self, step: Any, walltime: float | None, run: str = "", **value: Any) -> None:
        summary = self._summary.Summary(value=[self._summary.Summary.Value(**value)])
        event = self._event.Event(summary=summary)
        if step is not None:
            event.step = int(step)
        self._write(event, walltime, run)

    def add_scalar(self, tag: str, scalar_value: Any, global_step: Any = None, walltime: float | None = None,
                   new_style: bool = False, double_precision: bool = False) -> None:  # fmt: skip
        """One number; ValueError where it is several."""
        self._add(global_step, walltime, tag=tag, simple_value=_number(scalar_value))

    def add_scalars(self, main_tag: str, tag_scalar_dict: Mapping[str, Any], global_step: Any = None,
                    walltime: float | None = None) -> None:  # fmt: skip
        """Numbers that are drawn into one chart, each a run of its own."""
        for tag, value in tag_scalar_dict.items():
            run = f"{main_tag.replace('/', '_')}_{tag}"
            self._add(global_step, walltime, run, tag=main_tag, simple_value=_number(value))

    def add_histogram(self, tag: str, values: Any, global_step: Any = None, bins: Any = "tensorflow",
                      walltime: float | None = None, max_bins: int | None = None) -> None:  # fmt: skip
        """How often values occur. bins: "tensorflow", or what `numpy.histogram` takes."""
        a = _array(values).astype(np.float64).reshape(-1)
        if not a.size:
            raise ValueError("The input has no element.")
        edges = _default_edges() if isinstance(bins, str) and bins == "tensorflow" else bins
        counts, edges = np.histogram(a, bins=edges)
        if max_bins is not None and len(counts) > max_bins:
            step = len(counts) // max_bins
            counts = np.add.reduceat(counts, np.arange(0, len(counts), step))
            edges = np.unique(np.append(edges[::step], edges[-1]))
        used = np.flatnonzero(counts)
        first, last = (used[0], used[-1] + 1) if used.size else (0, len(counts))
        # one empty bucket before the first, as TensorBoard expects
        histogram = self._summary.HistogramProto(
            min=a.min(), max=a.max(), num=a.size, sum=a.sum(), sum_squares=a @ a,
            bucket_limit=edges[first : last + 1].tolist(),
            bucket=[0.0, *counts[first:last].tolist()],
        )  # fmt: skip
        self._add(global_step, walltime, tag=tag, histo=histogram)

    def add_image(self, tag: str, img_tensor: Any, global_step: Any = None, walltime: float | None = None,
                  dataformats: str = "CHW") -> None:  # fmt: skip
        """A picture: bytes, or floating numbers from 0 to 1."""
        pixels = _pixels(img_tensor, dataformats)
        image = self._summary.Summary.Image(
            height=pixels.shape[0], width=pixels.shape[1], colorspace=3,
            encoded_image_string=_png(pixels),
        )  # fmt: skip
        self._add(global_step, walltime, tag=tag, image=image)

    def add_images(self, tag: str, img_tensor: Any, global_step: Any = None, walltime: float | None = None,
                   dataformats: str = "NCHW") -> None:  # fmt: skip
        """Several pictures of one size on one."""
        self.add_image(tag, img_tensor, global_step, walltime, dataformats)

    def add_text(self, tag: str, text_string: str, global_step: Any = None, walltime: float | None = None) -> None:  # fmt: skip
        """A text, read as Markdown."""
        tensors = _module("compat.proto.tensor_pb2")
        types = _module("compat.proto.types_pb2")
        shape = _module("compat.proto.tensor_shape_pb2").TensorShapeProto
        kind = self._summary.SummaryMetadata.PluginData(plugin_name="text", content=b"")
        tensor = tensors.TensorProto(
            dtype=types.DT_STRING, string_val=[text_string.encode()],
            tensor_shape=shape(dim=[shape.Dim(size=1)]),
        )  # fmt: skip
        metadata = self._summary.SummaryMetadata(plugin_data=kind)
        self._add(
            global_step, walltime, tag=f"{tag}/text_summary", metadata=metadata, tensor=tensor
        )

    def flush(self) -> None:
        """Writes what is waiting."""
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Writes what is waiting and closes the files."""
        for writer in self._writers.values():
            writer.flush()
            writer.close()
        self._writers = {}

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


_NOT_THERE = {
    "add_graph": "facula.explain(x) draws what runs",
    "add_figure": "draw the figure to an array and call add_image",
    "add_video": "call add_image for each frame",
    "add_audio": "write a file with the wave module",
    "add_embedding": "save the matrix with facula.save",
    "add_pr_curve": "compute the curve and call add_scalar for its points",
    "add_hparams": "call add_text with the parameters and add_scalar with the results",
    "add_mesh": "save the mesh with facula.save",
    "add_custom_scalars": "call add_scalars",
    "add_onnx_graph": "facula.explain(x) draws what runs",
}


def _absent(name: str, instead: str) -> Any:
    def method(self: SummaryWriter, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(f"SummaryWriter.{name} is not there: {instead}")

    method.__name__, method.__doc__ = name, "Not there; the error says what to use."
    return method


for _name, _instead in _NOT_THERE.items():
    setattr(SummaryWriter, _name, _absent(_name, _instead))
