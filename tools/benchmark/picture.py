# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The phases of a boot as an SVG picture: a bar each, readable on light and on dark pages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from benchmark.phases import Phase

WIDTH, LABELS, ROW, TOP = 760, 170, 24, 34  # pixels
CHART = WIDTH - LABELS - 80  # the last bar's seconds stand to its right

STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.paper { fill: #ffffff } .grid { stroke: #d1d9e0 } .tick { fill: #59636e; text-anchor: middle }
.name { text-anchor: end } .boot { fill: #2f6fb3 } .beside { fill: #c2702a }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .paper { fill: #0d1117 } .grid { stroke: #3d444d } .tick { fill: #9198a1 }
  .boot { fill: #5b9bdc } .beside { fill: #e0954f }
}"""


def svg(phases: Sequence[Phase], title: str) -> str:
    """The picture. ``phases`` must not be empty."""
    height = TOP + ROW * len(phases) + 12
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
            f' height="{height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>\n{STYLE}\n</style>",
            f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
            *_grid(phases, height),
            *_bars(phases),
            "</svg>\n",
        ]
    )


def _scale(phases: Sequence[Phase]) -> float:
    """Pixels a second."""
    return CHART / max(phase.end for phase in phases)


def _grid(phases: Sequence[Phase], height: int) -> Iterator[str]:
    longest = max(phase.end for phase in phases)
    every = next((step for step in (0.1, 0.2, 0.5, 1, 2, 5) if longest / step <= 10), 10)
    for index in range(math.floor(longest / every) + 1):
        x = LABELS + index * every * _scale(phases)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{height - 8}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{TOP - 14}">{index * every:g} s</text>'


def _bars(phases: Sequence[Phase]) -> Iterator[str]:
    for index, phase in enumerate(phases):
        x, y = LABELS + phase.start * _scale(phases), TOP + index * ROW
        width = max(1.0, phase.seconds * _scale(phases))
        look = "beside" if phase.beside else "boot"
        yield f'<text class="name" x="{LABELS - 10}" y="{y + 15}">{escape(phase.name)}</text>'
        yield f'<rect class="{look}" x="{x:.1f}" y="{y + 3}" width="{width:.1f}" height="{ROW - 8}" rx="2"/>'
        yield f'<text x="{x + width + 6:.1f}" y="{y + 15}">{phase.seconds:.2f} s</text>'
