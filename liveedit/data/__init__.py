"""Readers of editing benchmarks; each gives the one sample type of :mod:`liveedit.data.samples`."""

from liveedit.data.evqa import read_evqa
from liveedit.data.samples import HardProbe, ImageSource, Sample

__all__ = ["HardProbe", "ImageSource", "Sample", "read_evqa"]
