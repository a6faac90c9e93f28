"""Detectors in other programs and files. What these need is imported when it is used."""

from ._onnx import to_onnx
from ._skops import trusted_types

__all__ = ["to_onnx", "trusted_types"]
