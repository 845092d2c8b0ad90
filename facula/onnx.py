"""`torch.onnx`: asking whether a model is being exported. Exporting is not offered."""

from __future__ import annotations

from typing import Any

__all__ = ["ExportableModule", "InputObserver", "ONNXProgram", "OnnxExporterError", "export",
           "is_in_onnx_export"]  # fmt: skip


class OnnxExporterError(RuntimeError):
    """An export that failed."""


def is_in_onnx_export() -> bool:
    """False: nothing is being exported."""
    return False


def _refuse(name: str) -> None:
    raise NotImplementedError(
        f"torch.onnx.{name}: facula does not export to ONNX; save the state_dict with torch.save, load it in "
        "PyTorch and export there"
    )


def export(model: Any, args: tuple = (), f: Any = None, **kwargs: Any) -> Any:
    """Not offered."""
    _refuse("export")


class ONNXProgram:
    """Not offered: a model in ONNX's form."""

    def __init__(self, model: Any, exported_program: Any) -> None:
        _refuse("ONNXProgram")


class ExportableModule:
    """Not offered: a module with what an export needs to know."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _refuse("ExportableModule")


class InputObserver:
    """Not offered: sees the inputs of a model for an export."""

    def __init__(self, value_if_missing: Any = None) -> None:
        _refuse("InputObserver")
