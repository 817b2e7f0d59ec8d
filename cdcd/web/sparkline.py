"""A small line of a figure over time, as the paths of an SVG. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

WIDTH: Final = 120
HEIGHT: Final = 24
_MARGIN: Final = 2


class Sparkline(msgspec.Struct, frozen=True):
    """`line` and `area` are SVG path data in a box of WIDTH by HEIGHT; `peak` is the greatest value."""

    line: str = ""
    area: str = ""
    peak: float = 0.0


def draw(at_us: Sequence[int], values: Sequence[float], window_us: int, floor: float) -> Sparkline:
    """Draw what was in the window that ends with the last moment. Up to `floor` the line does not fill the box.

    Where a value is NaN, the line has a gap.
    """
    known = [value for value in values if not math.isnan(value)]
    if len(known) < 2:
        return Sparkline(peak=known[0] if known else 0.0)
    peak = max(known)
    scale = (HEIGHT - 2 * _MARGIN) / max(peak, floor)
    lines, areas = [], []
    for run in _runs(at_us, values):
        points = [(WIDTH * (1 - (at_us[-1] - at_us[i]) / window_us), HEIGHT - _MARGIN - values[i] * scale) for i in run]
        drawn = "L".join(f"{x:.1f},{y:.1f}" for x, y in _thinned(points))
        lines.append(f"M{drawn}")
        areas.append(f"M{points[0][0]:.1f},{HEIGHT}L{drawn}L{points[-1][0]:.1f},{HEIGHT}Z")
    return Sparkline("".join(lines), "".join(areas), peak)


def _runs(at_us: Sequence[int], values: Sequence[float]) -> list[list[int]]:
    """Places of values that follow each other without a gap."""
    found: list[list[int]] = [[]]
    for i in range(len(at_us)):
        if math.isnan(values[i]):
            found.append([])
        else:
            found[-1].append(i)
    return [run for run in found if run]


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Without the points in the middle of level stretches: a quiet line is two points."""
    inner = [
        p for before, p, after in zip(points, points[1:], points[2:], strict=False) if not _level(before, p, after)
    ]
    return [points[0], *inner, points[-1]]


def _level(before: tuple[float, float], point: tuple[float, float], after: tuple[float, float]) -> bool:
    return abs(before[1] - point[1]) < 0.05 and abs(after[1] - point[1]) < 0.05
