"""Charts as PNG files: bars, latencies by percentile, and lines over time.

The only module that knows matplotlib, which is an extra (`penstock[bench]`) and imported when the first chart is drawn.
Figures are drawn without a display and without global state; the same numbers give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A900", "#4D4D4D")
"""Okabe and Ito's colours, which people with any colour vision can tell apart; yellow darkened to be seen on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""A second sign beside the colour, for print and for nine series or more."""
GOAL_COLOUR = "#4D4D4D"
DPI = 120
WIDTH_INCHES = 9.0


class ChartsUnavailable(Exception):
    """matplotlib is not installed; the message says what to install."""


def available() -> bool:
    """Whether charts can be drawn."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def bars(
    path: Path, *, title: str, unit: str, series: Mapping[str, Mapping[str, float]], goal: float | None = None
) -> None:
    """Grouped horizontal bars: label -> series -> value; labels from top to bottom, a dashed line at the goal.

    Raises:
        ChartsUnavailable: matplotlib is not installed.
    """
    names = list(dict.fromkeys(name for values in series.values() for name in values))
    groups = max(1, len(series))
    thickness = 0.8 / max(1, len(names))
    figure, axes = _figure(height=1.5 + groups * max(0.45, 0.26 * len(names)))
    for number, name in enumerate(names):
        # Downwards: the first label and the first series are on top.
        places = [group + (number - (len(names) - 1) / 2) * thickness for group in range(groups)]
        known = [
            (place, values[name]) for place, values in zip(places, series.values(), strict=False) if name in values
        ]
        drawn = axes.barh(
            [place for place, _ in known],
            [value for _, value in known],
            height=thickness * 0.92,
            color=PALETTE[number % len(PALETTE)],
            label=name,
            zorder=2,
        )
        figures = axes.bar_label(drawn, labels=[_number(value) for _, value in known], padding=3, fontsize=8)
        for text in figures:
            # Legible where the line of the goal runs through.
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.6})
            text.set_zorder(4)
    if goal is not None:
        axes.axvline(goal, color=GOAL_COLOUR, linestyle="--", linewidth=1.4, label=f"goal {_number(goal)}", zorder=3)
    axes.set_yticks(range(groups), [_wrapped(label) for label in series] or [""])
    axes.set_ylim(groups - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.set_xlabel(unit)
    axes.grid(axis="x", color="#DDDDDD", zorder=0)
    _finish(figure, axes, path, title, legend=len(names) > 1 or goal is not None)


def percentiles(path: Path, *, title: str, unit: str, series: Mapping[str, Mapping[str, float]]) -> None:
    """Latency by percentile, on a logarithmic axis: series -> percentile (`p50`, `p99`, `p999`, `max`) -> value.

    Percentiles are evenly spaced in the order in which they first appear. Values that are not positive are left out.

    Raises:
        ChartsUnavailable: matplotlib is not installed.
    """
    marks = list(dict.fromkeys(mark for values in series.values() for mark in values))
    figure, axes = _figure(height=4.8)
    for number, (name, values) in enumerate(series.items()):
        known = [(place, values[mark]) for place, mark in enumerate(marks) if values.get(mark, 0) > 0]
        axes.plot(
            [place for place, _ in known],
            [value for _, value in known],
            color=PALETTE[number % len(PALETTE)],
            marker=MARKERS[number % len(MARKERS)],
            linewidth=1.8,
            markersize=5,
            label=name,
        )
    axes.set_xticks(range(len(marks)), [_percentile(mark) for mark in marks])
    _logarithmic(axes, [v for values in series.values() for v in values.values() if v > 0])
    axes.set_xlabel("percentile")
    axes.set_ylabel(unit)
    axes.grid(which="major", color="#CCCCCC")
    axes.grid(which="minor", axis="y", color="#EEEEEE")
    _finish(figure, axes, path, title, legend=True)


def lines(
    path: Path, *, title: str, x_label: str, y_label: str, series: Mapping[str, Sequence[tuple[float, float]]]
) -> None:
    """Lines through points: series -> (x, y); the y axis begins at 0.

    Raises:
        ChartsUnavailable: matplotlib is not installed.
    """
    figure, axes = _figure(height=4.8)
    longest = max((len(points) for points in series.values()), default=0)
    for number, (name, points) in enumerate(series.items()):
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            color=PALETTE[number % len(PALETTE)],
            marker=MARKERS[number % len(MARKERS)],
            markevery=max(1, longest // 20),
            linewidth=1.8,
            markersize=4.5,
            label=name,
        )
    if all(float(x).is_integer() for points in series.values() for x, _ in points):
        from matplotlib.ticker import MaxNLocator

        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_formatter(lambda value, _place: _number(value))
    highest = max((y for points in series.values() for _, y in points if math.isfinite(y)), default=0.0)
    axes.set_ylim(0, highest * 1.08 or 1)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.yaxis.set_major_formatter(lambda value, _place: _number(value))
    axes.grid(color="#DDDDDD")
    _finish(figure, axes, path, title, legend=True)


def _figure(*, height: float) -> tuple[Figure, Axes]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as e:
        raise ChartsUnavailable(
            "no charts: matplotlib is missing; install it with `pip install 'penstock[bench]'`"
        ) from e

    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _finish(figure: Figure, axes: Axes, path: Path, title: str, *, legend: bool) -> None:
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=10)
    if legend and axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the version of the library, which would change the bytes.
    figure.savefig(path, format="png", metadata={"Software": None})


def _logarithmic(axes: Axes, values: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    if values:
        axes.set_ylim(min(values) / 1.3, max(values) * 1.3)
        # Less than two decades show few powers of ten: label the steps between.
        narrow = max(values) / min(values) < 100
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: _number(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _percentile(mark: str) -> str:
    """`p50` -> `50`, `p999` -> `99.9`."""
    digits = mark.removeprefix("p")
    return f"{digits[:2]}.{digits[2:]}" if digits.isdigit() and len(digits) > 2 else digits


def _number(value: float) -> str:
    """At most three digits that say something, with thousands apart."""
    size = abs(value)
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if size >= 10 else f"{value:,.2f}".rstrip("0").rstrip(".")


def _wrapped(label: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(label, 28)) or label
