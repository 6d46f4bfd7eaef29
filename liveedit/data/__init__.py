"""Readers of editing benchmarks; each gives the one sample type of :mod:`liveedit.data.samples`."""

from liveedit.data.benchmarks import BENCHMARKS, EIC, EVQA, VLKEB, Benchmark
from liveedit.data.completeness import check_data
from liveedit.data.leaks import SUBSETS
from liveedit.data.reader import Reading, read_benchmark, read_evqa
from liveedit.data.samples import HardProbe, ImageSource, PortabilityProbe, Sample, fitting

__all__ = [
    "BENCHMARKS",
    "EIC",
    "EVQA",
    "SUBSETS",
    "VLKEB",
    "Benchmark",
    "HardProbe",
    "ImageSource",
    "PortabilityProbe",
    "Reading",
    "Sample",
    "check_data",
    "fitting",
    "read_benchmark",
    "read_evqa",
]
