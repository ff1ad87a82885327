# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The results of a run as text: medians, ratios, and what moved since a stored run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import linear_regression, median
from typing import Any

from benchmark.phases import Phase
from scipy.stats import mannwhitneyu
from tabulate import tabulate

# The p-value below which a row counts as moved. There are about forty rows, and five runs against five reach 0.008.
SIGNIFICANCE = 0.01


@dataclass(frozen=True)
class Series:
    """A row: the image's values, and the values of its peer if there is one, both in the order of the runs.

    ``limit`` is the image's highest allowed median. ``goal`` is the highest and ``least`` the lowest allowed ratio.
    """

    key: str
    title: str
    unit: str
    ours: tuple[float, ...] = ()
    other: tuple[float, ...] = ()
    goal: float | None = None
    limit: float | None = None
    least: float | None = None

    @property
    def ratio(self) -> float | None:
        """The image's median divided by the peer's; None without a peer."""
        return median(self.ours) / median(self.other) if self.other and median(self.other) else None

    @property
    def verdict(self) -> str:
        """The bound and whether the row keeps it, as in ``<= 0.8 over``; empty without a bound or a peer to compare."""
        if self.limit is not None:
            return f"<= {self.limit:g} {'ok' if median(self.ours) <= self.limit else 'over'}"
        if self.ratio is not None and self.goal is not None:
            return f"<= {self.goal:g} {'ok' if self.ratio <= self.goal else 'over'}"
        if self.ratio is not None and self.least is not None:
            return f">= {self.least:g} {'ok' if self.ratio >= self.least else 'under'}"
        return ""


@dataclass(frozen=True)
class Results:
    """A run of the benchmark. ``load`` is the machine's load average of one minute, before and after the run."""

    image: str
    peer: str
    runs: int
    machine: str
    load: tuple[float, float]
    series: tuple[Series, ...]
    phases: tuple[Phase, ...] = ()
    failures: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Results:
        """The results of ``to_json``. Raises ValueError, KeyError or TypeError for any other text."""
        read: dict[str, Any] = json.loads(text)
        before, after = read["load"]
        read |= {
            "load": (before, after),
            "series": tuple(
                Series(**row | {half: tuple(row[half]) for half in ("ours", "other")}) for row in read["series"]
            ),
            "phases": tuple(Phase(**phase) for phase in read["phases"]),
            "failures": tuple(read["failures"]),
        }
        return cls(**read)


def equal_by_chance(one: Sequence[float], other: Sequence[float]) -> float:
    """The two-sided p-value of the exact Mann-Whitney test. SciPy rounds a tie towards "nothing moved"."""
    return float(mannwhitneyu(one, other, method="exact").pvalue)


def can_tell(old: int, new: int) -> bool:
    """Whether the test can find a difference with so many values."""
    return equal_by_chance(range(old), range(old, old + new)) < SIGNIFICANCE


def halves(old: Series, new: Series) -> Iterator[tuple[str, Sequence[float], Sequence[float]]]:
    """The title, the old and the new values of a row, then of the peer's half of the row."""
    yield new.title, old.ours, new.ours
    if old.other and new.other:
        yield f"{new.title}, what it is compared with", old.other, new.other


def comparison(old: Results, new: Results) -> Iterator[str]:
    """The rows that moved, and the ratios, which the load of the machine changes less."""
    before = {row.key: row for row in old.series}
    both = [(before[row.key], row) for row in new.series if row.key in before]
    yield f"against a run of {old.image} at load {old.load[0]:.1f} (now {new.load[0]:.1f}), median [least, most]:"
    yield from moves(both)
    for was, row in both:
        if was.ratio and row.ratio:
            yield f"  ratio: {row.title}: {was.ratio:.2f} -> {row.ratio:.2f}"


def moves(both: Sequence[tuple[Series, Series]]) -> Iterator[str]:
    found = [(row.unit, *half) for was, row in both for half in halves(was, row)]
    telling = [half for half in found if can_tell(len(half[2]), len(half[3]))]
    moved = [half for half in telling if equal_by_chance(half[2], half[3]) < SIGNIFICANCE]
    for unit, title, old, new in moved:
        yield f"  moved: {title}: {spread(old)} -> {spread(new)} {unit}, {change(old, new)}"
    yield f"  {len(telling) - len(moved)} of {len(found)} rows stayed within the noise"
    if len(found) > len(telling):
        yield f"  {len(found) - len(telling)} have too few runs to tell (five against five can)"


def change(old: Sequence[float], new: Sequence[float]) -> str:
    before, after = median(old), median(new)
    return f"{after / before - 1:+.0%}" if before else f"{after - before:+.3g}"


def growth(series: Mapping[int, Sequence[float]]) -> str:
    """How the time until all agents are up grows with their number. ``series`` maps the number to seconds."""
    medians = {agents: median(seconds) for agents, seconds in sorted(series.items())}
    times = ", ".join(f"{agents}: {seconds / medians[min(medians)]:.1f} x" for agents, seconds in medians.items())
    return f"{times}; {linear_regression(list(medians), list(medians.values())).slope:.2f} s for each further agent"


def spread(values: Sequence[float]) -> str:
    """Median [least, most]; empty without values."""
    return f"{number(median(values))} [{number(min(values))}, {number(max(values))}]" if values else ""


def number(value: float) -> str:
    """Three significant digits, but at most three decimals; whole numbers as such."""
    if value == int(value):
        return str(int(value))
    return f"{value:.{min(3, max(0, 2 - math.floor(math.log10(abs(value)))))}f}"


def table(results: Results) -> str:
    """The machine, then a line for each row; a value is a median [least, most]."""
    load = f"load {results.load[0]:.1f} before, {results.load[1]:.1f} after"
    heads = ("", "", results.image, results.peer, "ratio", "")
    rows = [
        (row.title, row.unit, spread(row.ours), spread(row.other), row.ratio, row.verdict) for row in results.series
    ]
    aligned = ("left", "left", "right", "right", "right")
    table = tabulate(rows, heads, tablefmt="plain", floatfmt=".2f", colalign=aligned)
    return f"{results.machine}; {load}; {results.runs} runs\n{table}"


def phase_table(phases: Sequence[Phase]) -> str:
    """When each phase of one boot began and ended, and how long it took."""
    rows = [
        (phase.name, phase.start, phase.end, phase.seconds, "beside the boot" if phase.beside else "")
        for phase in phases
    ]
    return tabulate(rows, ("phase", "from", "to", "seconds", ""), tablefmt="plain", floatfmt=".2f")
