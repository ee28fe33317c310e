"""Line plots as SVG, drawn with nothing but the standard library: axes with units, a title, a legend."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 84, 24, 104, 56
LEGEND_TOP = 48
TICKS = 6
"""About so many marks on an axis."""
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
"""Distances between marks, times a power of ten."""
WIDE = 10.0
"""A logarithmic axis over more than this has few marks in each power of ten."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Told apart by everyone (Okabe and Ito, 2008)."""
DASHES = ("", "6 4", "2 3")
INK, GRID, SHADE = "#222222", "#dddddd", "#eeeeee"
NEARLY_ZERO = 0.05
"""An axis that would begin at this share of its end begins at zero."""
POINTS_MAX = 1_000
"""Points of a line: more could not be told apart."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `colour` and `dash` are numbers in the lists above; what belongs together shares one of them."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int
    dash: int = 0


@dataclass(frozen=True, slots=True)
class Band:
    """A part of the x axis that is shaded, and why."""

    name: str
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Plot:
    """What is to be drawn. Labels name the unit. With `log_x` the x axis is logarithmic, and its values above 0."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    bands: Sequence[Band] = ()
    log_x: bool = False
    y_from: float = 0.0


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis: from `low` at pixel `start` to `high` at pixel `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def pixel(self, value: float) -> float:
        low, high, at = (math.log10(each) if self.log else each for each in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (at - low) / (high - low)

    def within(self, value: float) -> float:
        """Return the pixel of a value, or the axis's nearest end."""
        return self.pixel(min(max(value, self.low), self.high))

    def ticks(self) -> list[float]:
        """Round values within the axis."""
        if self.log:
            tens = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            digits = (1, 2, 5) if self.high > WIDE * self.low else (1, 1.5, 2, 3, 4, 5, 6, 8)
            marks = [digit * 10.0**ten for ten in tens for digit in digits]
            return [mark for mark in marks if self.low <= mark <= self.high]
        step = _step((self.high - self.low) / TICKS)
        first = math.ceil(self.low / step)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def write(path: Path, plot: Plot) -> None:
    """Draw into a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(draw(plot), encoding="utf-8")


def draw(plot: Plot) -> str:
    """Return the drawing as SVG."""
    x, y = _axes(plot)
    size = {"width": f"{WIDTH}", "height": f"{HEIGHT}", "viewBox": f"0 0 {WIDTH} {HEIGHT}"}
    root = ET.Element(
        "svg", {"xmlns": "http://www.w3.org/2000/svg", **size, "font-family": "sans-serif", "font-size": "12"}
    )
    ET.SubElement(root, "title").text = plot.title
    ET.SubElement(root, "rect", {"width": f"{WIDTH}", "height": f"{HEIGHT}", "fill": "#ffffff"})
    _text(root, plot.title, LEFT, 24, size=15)
    _legend(root, plot.lines)
    for band in plot.bands:
        _shade(root, band, x, y)
    _grid(root, x, y)
    for band in plot.bands:
        _text(root, band.name, (x.within(band.first) + x.within(band.last)) / 2, y.end - 6, anchor="middle")
    for line in plot.lines:
        _line(root, line, x, y)
    _text(root, plot.x_label, (x.start + x.end) / 2, HEIGHT - 14, anchor="middle")
    middle = (y.start + y.end) / 2
    label = _text(root, plot.y_label, 18, middle, anchor="middle")
    label.set("transform", f"rotate(-90 18 {middle:.1f})")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _axes(plot: Plot) -> tuple[_Axis, _Axis]:
    points = [point for line in plot.lines for point in line.points]
    low, high = min(at for at, _ in points), max(at for at, _ in points)
    top = max(value for _, value in points)
    if not plot.log_x and 0 < low < NEARLY_ZERO * high:
        low = 0.0
    x = _Axis(low, high if high > low else low + 1, LEFT, WIDTH - RIGHT, plot.log_x)
    return x, _Axis(plot.y_from, 1.05 * top if top > plot.y_from else plot.y_from + 1, HEIGHT - BOTTOM, TOP)


def _step(about: float) -> float:
    power = 10.0 ** math.floor(math.log10(about))
    return next(step * power for step in STEPS if step * power >= about * (1 - 1e-9))


def _grid(root: ET.Element, x: _Axis, y: _Axis) -> None:
    for value in y.ticks():
        at = y.pixel(value)
        _stroke(root, [(x.start, at), (x.end, at)], GRID)
        _text(root, _number(value), x.start - 8, at + 4, anchor="end")
    for value in x.ticks():
        at = x.pixel(value)
        _stroke(root, [(at, y.start), (at, y.start + 5)], INK)
        _text(root, _number(value), at, y.start + 19, anchor="middle")
    _stroke(root, [(x.start, y.end), (x.start, y.start), (x.end, y.start)], INK)


def _shade(root: ET.Element, band: Band, x: _Axis, y: _Axis) -> None:
    first, last = x.within(band.first), x.within(band.last)
    where = {"x": f"{first:.1f}", "y": f"{y.end}", "width": f"{last - first:.1f}", "height": f"{y.start - y.end}"}
    ET.SubElement(root, "rect", {**where, "fill": SHADE})


def _line(root: ET.Element, line: Line, x: _Axis, y: _Axis) -> None:
    every = max(1, math.ceil(len(line.points) / POINTS_MAX))
    shown = [*line.points[:-1:every], line.points[-1]]
    pixels = [(x.pixel(at), y.pixel(value)) for at, value in shown]
    _stroke(root, pixels, COLOURS[line.colour], width=1.8, dash=DASHES[line.dash])


def _legend(root: ET.Element, lines: Sequence[Line]) -> None:
    """Explain the lines, in as many rows as it takes; there is room for two."""
    at, row = float(LEFT), LEGEND_TOP
    for line in lines:
        width = 46 + 6.6 * len(line.name)
        if at + width > WIDTH:
            at, row = float(LEFT), row + 19
        _stroke(root, [(at, row), (at + 24, row)], COLOURS[line.colour], width=2.4, dash=DASHES[line.dash])
        _text(root, line.name, at + 30, row + 4)
        at += width


def _stroke(
    root: ET.Element, pixels: Sequence[tuple[float, float]], colour: str, *, width: float = 1, dash: str = ""
) -> None:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in pixels)
    look = {"fill": "none", "stroke": colour, "stroke-width": f"{width}", "stroke-linejoin": "round"}
    ET.SubElement(root, "polyline", {"points": points, **look, **({"stroke-dasharray": dash} if dash else {})})


def _text(root: ET.Element, text: str, x: float, y: float, *, anchor: str = "start", size: int = 12) -> ET.Element:
    where = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "font-size": f"{size}", "fill": INK}
    element = ET.SubElement(root, "text", where)
    element.text = text
    return element


def _number(value: float) -> str:
    return f"{0.0 if abs(value) < 1e-12 else value:,.10g}"  # noqa: PLR2004 - what rounding leaves of zero
