"""Detectors in other programs and files. What these need is imported when it is used."""

from ._onnx import to_onnx
from ._pyod import HRNDetector, PyODDetector
from ._skops import trusted_types

__all__ = ["HRNDetector", "PyODDetector", "to_onnx", "trusted_types"]
