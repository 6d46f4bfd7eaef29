"""Plots as inline SVG, coloured by the style sheet: they follow the theme and stay sharp. Texts are escaped.

Kinds of points differ in shape and filling as well as in colour, so that no eye needs the colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

from liveedit.ui.markup import escape

# Outlines around (0, 0), about twelve units wide.
SHAPES = {
    "circle": '<circle r="5"/>',
    "square": '<rect x="-5" y="-5" width="10" height="10"/>',
    "triangle": '<path d="M0 -6L6 5H-6Z"/>',
    "diamond": '<path d="M0 -6.5L6.5 0L0 6.5L-6.5 0Z"/>',
    "cross": '<path d="M-5 -5L5 5M5 -5L-5 5"/>',
    "plus": '<path d="M-6 0H6M0 -6V6"/>',
    "star": '<path d="M0 -8L2.2 -2.6L8 -2.3L3.5 1.4L5 7L0 3.9L-5 7L-3.5 1.4L-8 -2.3L-2.2 -2.6Z"/>',
}
OF_KIND = {
    "passed": "circle", "stopped": "circle", "off": "square", "unasked": "diamond", "question": "star", "sentinel": "cross",
}  # fmt: skip
OF_LINE = ("circle", "square", "triangle", "diamond", "cross", "plus", "star")


@dataclass(frozen=True)
class Mark:
    """A point: where, of which kind, what it says on hover, and the edit it opens on a click."""

    x: float
    y: float
    kind: str
    words: str
    item: str = ""

    def drawn(self, x: float = 0.0, y: float = 0.0) -> str:
        """The point with its place on the drawing."""
        title = f"<title>{escape(self.words)}</title>" if self.words else ""
        data = f' data-action="expert" data-item="{escape(self.item)}"' if self.item else ""
        return f'<g class="mark {self.kind}" transform="translate({x:.1f} {y:.1f})"{data}>{title}{SHAPES[OF_KIND[self.kind]]}</g>'


def scatter(marks: Sequence[Mark], label: str, width: int = 460, height: int = 250) -> str:
    """Points with as much room to every side; question and sentinel, last in the list, lie on top."""
    pad = 18
    xs, ys = [m.x for m in marks], [m.y for m in marks]
    wide, high = (max(v) - min(v) or 1.0 for v in (xs, ys))

    def place(mark: Mark) -> tuple[float, float]:
        x = pad + (mark.x - min(xs)) / wide * (width - 2 * pad) if max(xs) > min(xs) else width / 2
        y = height - pad - (mark.y - min(ys)) / high * (height - 2 * pad) if max(ys) > min(ys) else height / 2
        return x, y

    drawn = "".join(mark.drawn(*place(mark)) for mark in marks)
    return (
        f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f'<rect class="ground" width="{width}" height="{height}" rx="8"/>{drawn}</svg>'
    )


@dataclass(frozen=True)
class Line:
    """A curve: its name, its number (which gives colour and marker), and (x, mean, low, high) with x above 0.

    Without a number it is a floor to compare with: grey, dashed and without markers.
    """

    name: str
    number: int | None
    points: Sequence[tuple[float, float, float, float]]


def lines(curves: Sequence[Line], label: str, width: int = 300, height: int = 190) -> str:
    """Percentages over a logarithmic axis, with bands from low to high; every x is ticked."""
    left, right, top, bottom = 34, 14, 10, 26
    counts = sorted({p[0] for c in curves for p in c.points})
    low, high = log10(counts[0]), log10(counts[-1])

    def across(x: float) -> float:
        share = (log10(x) - low) / (high - low) if high > low else 0.5
        return left + 12 + share * (width - left - right - 24)

    def up(value: float) -> float:
        return height - bottom - min(max(value, 0.0), 100.0) / 100 * (height - top - bottom)

    grid = "".join(
        f'<path class="grid" d="M{left} {up(v):.1f}H{width - right}"/><text class="tick" x="{left - 6}" '
        f'y="{up(v) + 3.5:.1f}" text-anchor="end">{v}</text>'
        for v in (0, 25, 50, 75, 100)
    )
    ticks = "".join(
        f'<text class="tick" x="{across(x):.1f}" y="{height - 8}" text-anchor="middle">{x:,.0f}</text>' for x in counts
    )
    drawn = "".join(_curve(curve, across, up) for curve in curves)
    return (
        f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f"{grid}{ticks}{drawn}</svg>"
    )


def swatch(number: int | None) -> str:
    """The line and marker of a curve, for a legend."""
    style, shape = _look(number)
    return (
        f'<svg class="swatch" viewBox="-14 -8 28 16" aria-hidden="true"><g class="curve {style}">'
        f'<path class="line" d="M-14 0H14"/>{shape}</g></svg>'
    )


def _look(number: int | None) -> tuple[str, str]:
    """A curve's class in the style sheet, and its marker."""
    return ("floor", "") if number is None else (f"c{number % 8}", SHAPES[OF_LINE[number % len(OF_LINE)]])


def _curve(curve: Line, across, up) -> str:  # type: ignore[no-untyped-def]
    points = sorted(curve.points)
    style, shape = _look(curve.number)
    upper = " ".join(f"{across(x):.1f},{up(high):.1f}" for x, _, _, high in points)
    lower = " ".join(f"{across(x):.1f},{up(low):.1f}" for x, _, low, _ in reversed(points))
    way = " ".join(f"{across(x):.1f},{up(mean):.1f}" for x, mean, _, _ in points)
    dots = "".join(
        f'<g transform="translate({across(x):.1f} {up(mean):.1f}) scale(0.72)">'
        f"<title>{escape(curve.name)}, {x:,.0f} edits: {mean:.2f}</title>{shape}</g>"
        for x, mean, _, _ in points
    )
    band = f'<polygon class="band" points="{upper} {lower}"/>' if len(points) > 1 else ""
    return f'<g class="curve {style}">{band}<polyline class="line" points="{way}"/>{dots}</g>'
