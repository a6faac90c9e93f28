"""Features of images: visual words, and their whitening against rotated images."""

from ._rotation import RotationWhitening
from ._visual_words import PatchDictionary

__all__ = ["PatchDictionary", "RotationWhitening"]
