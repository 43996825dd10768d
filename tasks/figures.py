"""One look for every picture, and PNG bytes that depend on the drawing alone."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
from cycler import cycler

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

# Okabe & Ito's palette, distinguishable with every common colour blindness.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442"]

STYLE: dict[Any, Any] = {
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "font.family": "DejaVu Sans",  # ships with matplotlib, so it is the same everywhere
    "figure.dpi": 110,
}

plt.rcParams.update(STYLE)  # for good: titles and labels are set between `subplots` and `png`


def subplots(rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """`plt.subplots` in the house style: a figure, and its axes (one, or an array of them)."""
    return plt.subplots(rows, columns, layout="constrained", **options)


def png(figure: Figure) -> bytes:
    """The figure as PNG without time stamp or version, and closes it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()
