# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The phases of a boot as a bar chart."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl
from benchmark.phases import Phase
from matplotlib.figure import Figure

BOOT, BESIDE = "#2f6fb3", "#c2702a"
# No random ids and no date: the same phases give the same bytes.
WITHOUT = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def svg(phases: Sequence[Phase], title: str) -> str:
    """An SVG with a bar for each phase, on white. A bar's id is ``phase-`` and its index. ``phases`` is not empty."""
    height = 0.3 * len(phases) + 0.5  # inches
    figure = Figure(figsize=(8, height), facecolor="white")
    axes = figure.subplots(gridspec_kw={"left": 0.18, "right": 0.99, "top": 1 - 0.3 / height, "bottom": 0.1 / height})
    colours = [BESIDE if phase.beside else BOOT for phase in phases]
    lengths, starts = [phase.seconds for phase in phases], [phase.start for phase in phases]
    bars = axes.barh(range(len(phases)), lengths, left=starts, height=0.7, color=colours, edgecolor=colours)
    for index, bar in enumerate(bars):
        bar.set_gid(f"phase-{index}")
    axes.bar_label(bars, fmt="{:.2f} s", padding=5)
    axes.set_yticks(range(len(phases)), [phase.name for phase in phases])
    axes.set_ylim(len(phases) - 0.5, -0.5)
    axes.set_xlim(0, 1.1 * max(phase.end for phase in phases))  # room for the last bar's label
    axes.xaxis.tick_top()
    axes.xaxis.set_major_formatter("{x:g} s")
    axes.grid(axis="x", color="#d1d9e0")
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    drawn = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "mesos.dind", "svg.fonttype": "none"}):
        figure.savefig(drawn, format="svg", metadata={**WITHOUT, "Title": title})
    return drawn.getvalue()
