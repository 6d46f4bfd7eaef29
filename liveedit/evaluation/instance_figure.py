"""The figure of an instance analysis (paper, Figure 6), to be kept as PNG, SVG or PDF.

On the left the question with both answers; on the right the top experts by hard routing, each with its picture,
heatmap and text; below them the weights of soft routing, a bar under each expert.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from liveedit.experts import ExpertRepository
from liveedit.pictures import WHOLE, Region, overlay_heatmap
from liveedit.types import ExpertTrace, InputError, Query

FORMATS = ("png", "svg", "pdf")
BLUE, INK, MUTED, GRID = "#0072b2", "#1f2937", "#566274", "#d4d7dd"
NOTHING = "(nothing)"
SIDE = 320  # pixels of a drawn picture
COLUMN = 2.5  # inches
WRAP, WRAP_NOTE = 30, 36  # characters of a line under a picture
LONGEST = 110  # characters of a question or an answer


@dataclass(frozen=True)
class Map:
    """A ``heatmap`` [h, w] over the ``region`` of a picture, and in a few lines how it was made."""

    heatmap: np.ndarray
    note: str
    region: Region = WHOLE


@dataclass(frozen=True)
class InstanceAnalysis:
    """A question, both answers, and the experts to show: what routing decided for each, and its map.

    ``own`` is the map of the question's picture; None where none belongs there. Words in a map's place, which say why
    it lacks, stand under the picture. The experts' maps lie over their edits' pictures or, ``over_question``, over the
    question's, with the edit's picture set into the corner. ``names`` are the experts'.
    """

    query: Query
    base: str
    edited: str
    repository: ExpertRepository
    experts: Sequence[ExpertTrace]
    own: Map | str | None
    maps: Mapping[str, Map | str]
    names: Mapping[str, str]
    over_question: bool = False


def instance_figure(analysis: InstanceAnalysis) -> Figure:
    """The figure; without experts the question alone."""
    if analysis.query.image is None:
        raise InputError("an instance analysis shows a picture: ask about one")
    shown = analysis.experts
    columns = 1 + len(shown)
    figure = Figure(figsize=(columns * COLUMN + 0.4, 5.0 if shown else 4.2), dpi=150, layout="constrained")
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.06)
    figure.patch.set_facecolor("white")
    grid = figure.add_gridspec(2, columns, height_ratios=(4.4, 1.0) if shown else (4.4, 0.01))
    question = figure.add_subplot(grid[0, 0])
    _picture(question, analysis.query.image, analysis.own, "Question")
    said = f"unedited: {analysis.base.strip() or NOTHING}", f"edited: {analysis.edited.strip() or NOTHING}"
    _text(question, "\n".join([_wrapped(analysis.query.prompt), *map(_wrapped, said)]), analysis.own)
    bars: Axes | None = None
    for number, row in enumerate(shown, start=1):
        edit = analysis.repository.get(row.expert_id).edit
        axes = figure.add_subplot(grid[0, number])
        found = analysis.maps.get(row.expert_id)
        name = analysis.names.get(row.expert_id, row.expert_id)
        _picture(axes, analysis.query.image if analysis.over_question else edit.image, found, name)
        if analysis.over_question:
            inset = axes.inset_axes((0.70, 0.0, 0.30, 0.30))
            inset.imshow(_square(edit.image, SIDE // 3))
            _bare(inset, "white")
        passed = "passed" if row.passed else "stopped"
        lines = (_wrapped(edit.prompt), _wrapped(f"→ {edit.target}"), f"margin {row.margin:+.2f}, {passed}")
        _text(axes, "\n".join(lines), found)
        bars = figure.add_subplot(grid[1, number], sharey=bars)
        _bar(bars, row, first=number == 1)
    return figure


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as a PNG, SVG or PDF file; the same figure gives the same bytes."""
    if kind not in FORMATS:
        raise InputError(f"a figure cannot be kept as {kind!r}: choose {', '.join(FORMATS)}")
    buffer = io.BytesIO()
    # Text stays text in SVG and PDF, so that it can be searched, copied and restyled.
    with matplotlib.rc_context({"svg.hashsalt": "liveedit", "svg.fonttype": "none", "pdf.fonttype": 42}):
        dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        figure.savefig(buffer, format=kind, metadata=dates.get(kind))
    return buffer.getvalue()


def _picture(axes: Axes, picture: Image.Image, found: Map | str | None, title: str) -> None:
    square = _square(picture, SIDE)
    axes.imshow(overlay_heatmap(square, found.heatmap, found.region) if isinstance(found, Map) else square)
    _bare(axes, GRID)
    axes.set_title(title, fontsize=10, color=INK, loc="left", fontweight="bold", parse_math=False)
    axes.set_anchor("N")


def _square(picture: Image.Image, side: int) -> Image.Image:
    """All pictures are squeezed into squares of one size; what share of the sides a region takes is the same there."""
    return picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)


def _bare(axes: Axes, edge: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(edge)


def _text(axes: Axes, lines: str, found: Map | str | None) -> None:
    """Text under a picture, and below it, muted, how the heatmap was made or why there is none."""
    at: dict[str, Any] = {"xy": (0, 0), "textcoords": "offset points", "va": "top", "ha": "left", "parse_math": False}
    above = axes.annotate(lines, xytext=(0, -5), xycoords="axes fraction", fontsize=8.5, color=INK, **at)
    if found:
        note = found.note if isinstance(found, Map) else textwrap.fill(found, WRAP_NOTE)
        axes.annotate(note, xytext=(0, -5), xycoords=above, fontsize=7, color=MUTED, **at)


def _bar(axes: Axes, trace: ExpertTrace, first: bool) -> None:
    """The weight of one expert."""
    axes.bar([0], [trace.weight], width=0.5, color=BLUE if trace.passed else GRID)
    axes.text(0, trace.weight + 0.04, f"{trace.weight:.2f}", ha="center", fontsize=9, color=INK)
    axes.set_xlim(-1, 1)
    axes.set_ylim(0, 1.3)
    axes.set_xticks([])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.tick_params(length=0, labelsize=8, labelcolor=MUTED, labelleft=first)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    if first:
        axes.set_ylabel("fusion weight", fontsize=8, color=MUTED)


def _wrapped(text: str) -> str:
    """A person's text in a few short lines."""
    return textwrap.fill(_shortened(text), WRAP)


def _shortened(text: str) -> str:
    """At most ``LONGEST`` characters on one line."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1].rstrip() + "…"
