# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What was measured: medians, spreads and ratios, what moved between two runs, and the table that people read."""

from __future__ import annotations

import functools
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmark.phases import Phase

# A row has moved where chance alone would part two equal ones as far as that less often than once in a hundred times:
# there are some forty rows, and five runs against five can just tell.
SIGNIFICANCE = 0.01


@dataclass(frozen=True)
class Series:
    """A row: the values of the image's runs, and of what it is compared with, if anything, in the same order.

    ``goal`` is the most that the ratio of the two may be, or ``least`` the least; ``limit`` is the most of the image's
    own value.
    """

    key: str
    title: str
    unit: str
    ours: tuple[float, ...]
    other: tuple[float, ...] = ()
    goal: float | None = None
    limit: float | None = None
    least: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.ours)

    @property
    def ratio(self) -> float | None:
        """Of the two medians; None where there is nothing to compare with."""
        other = statistics.median(self.other) if self.other else 0.0
        return self.median / other if other else None

    @property
    def bound(self) -> str:
        """What is asked for; empty where nothing is."""
        if self.least is not None:
            return f">= {self.least:g}"
        most = self.limit if self.limit is not None else self.goal
        return "" if most is None else f"<= {most:g}"

    @property
    def verdict(self) -> str:
        """Whether what is asked for is kept; empty where nothing is, or nothing is there to compare with."""
        if self.limit is not None:
            return _verdict(self.median, self.limit)
        if self.goal is not None and self.ratio is not None:
            return _verdict(self.ratio, self.goal)
        if self.least is not None and self.ratio is not None:
            return "ok" if self.ratio >= self.least else "under"
        return ""


@dataclass(frozen=True)
class Results:
    """A run of the benchmark. ``load`` is the machine's load average of one minute before and after."""

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
        """Raises ValueError, KeyError or TypeError for what is no result."""
        read: dict[str, Any] = json.loads(text)
        series = tuple(
            Series(**{**one, "ours": tuple(one["ours"]), "other": tuple(one["other"])}) for one in read.pop("series")
        )
        phases = tuple(Phase(**one) for one in read.pop("phases"))
        before, after = read.pop("load")
        failures = tuple(read.pop("failures"))
        return cls(**read, load=(before, after), series=series, phases=phases, failures=failures)


@dataclass(frozen=True)
class Change:
    """What became of a row, or of the peer's half of it. ``chance`` is the p-value that nothing moved."""

    title: str
    unit: str
    old: tuple[float, ...]
    new: tuple[float, ...]

    @property
    def chance(self) -> float:
        return equal_by_chance(self.old, self.new)

    def __str__(self) -> str:
        before, after = statistics.median(self.old), statistics.median(self.new)
        by = f"{after / before - 1:+.0%}" if before else f"{after - before:+.3g}"
        return f"{self.title}: {spread(self.old)} -> {spread(self.new)} {self.unit}, {by}"


def equal_by_chance(one: Sequence[float], other: Sequence[float]) -> float:
    """The two-sided p-value of the exact Mann-Whitney test: no bell curve is assumed, and one outlier decides nothing.

    Mann, Whitney: On a Test of Whether one of Two Random Variables is Stochastically Larger than the Other (1947).
    A tie counts half, rounded to the side of "nothing moved".
    """
    wins = sum((a > b) + (a == b) / 2 for a in one for b in other)
    few = math.ceil(min(wins, len(one) * len(other) - wins))
    orders = sum(_orders(len(one), len(other), count) for count in range(few + 1))
    return min(1.0, 2 * orders / math.comb(len(one) + len(other), len(one)))


@functools.cache
def _orders(ones: int, others: int, wins: int) -> int:
    """In how many orders of ``ones`` and ``others`` a one comes after an other exactly ``wins`` times."""
    if wins < 0 or not ones or not others:
        return int(wins == 0)
    return _orders(ones - 1, others, wins - others) + _orders(ones, others - 1, wins)


def can_tell(old: int, new: int) -> bool:
    """Whether so many values are enough for anything to count as moved."""
    return 2 / math.comb(old + new, old) < SIGNIFICANCE


def changes(old: Results, new: Results) -> list[Change]:
    """Every row that both have, and the peer's half of it where both have that."""
    before = {series.key: series for series in old.series}
    found = []
    for series in new.series:
        if series.key in before:
            was = before[series.key]
            found.append(Change(series.title, series.unit, was.ours, series.ours))
            if was.other and series.other:
                found.append(Change(f"{series.title}, what it is compared with", series.unit, was.other, series.other))
    return found


def comparison(old: Results, new: Results) -> Iterator[str]:
    """What moved beyond noise, line by line; the ratios beside it, which a busier machine moves less."""
    found = changes(old, new)
    telling = [change for change in found if can_tell(len(change.old), len(change.new))]
    moved = [change for change in telling if change.chance < SIGNIFICANCE]
    yield f"against a run of {old.image} at load {old.load[0]:.1f} (now {new.load[0]:.1f}), median [least, most]:"
    yield from (f"  moved: {change}" for change in moved)
    yield f"  {len(telling) - len(moved)} of {len(found)} rows stayed within the noise"
    if len(found) > len(telling):
        yield f"  {len(found) - len(telling)} have too few runs to tell (five against five can)"
    was = {series.key: series.ratio for series in old.series}
    for series in new.series:
        before = was.get(series.key)
        if before and series.ratio:
            yield f"  ratio: {series.title}: {before:.2f} -> {series.ratio:.2f}"


def growth(series: Mapping[int, Sequence[float]]) -> str:
    """How the time until all are up grows with their number; ``series`` maps it to seconds."""
    medians = {number: statistics.median(seconds) for number, seconds in sorted(series.items())}
    times = ", ".join(f"{number}: {seconds / medians[min(medians)]:.1f} x" for number, seconds in medians.items())
    each = statistics.linear_regression(list(medians), list(medians.values())).slope
    return f"{times}; {each:.2f} s for each further agent"


def spread(values: Sequence[float]) -> str:
    """Median, least and most."""
    return f"{number(statistics.median(values))} [{number(min(values))}, {number(max(values))}]"


def number(value: float) -> str:
    """Three digits that count, three decimals at most; whole numbers as such."""
    if value == int(value):
        return str(int(value))
    return f"{value:.{min(3, max(0, 2 - math.floor(math.log10(abs(value)))))}f}"


def table(results: Results) -> Iterator[str]:
    """The rows in columns, each value as median [least, most]."""
    rows = [("", "", results.image, results.peer or "", "ratio", "")]
    for series in results.series:
        ratio = f"{series.ratio:.2f}" if series.ratio is not None else ""
        asked = f"{series.bound} {series.verdict}" if series.verdict else ""
        other = spread(series.other) if series.other else ""
        rows.append((series.title, series.unit, spread(series.ours), other, ratio, asked))
    yield f"{results.machine}; load {results.load[0]:.1f} before, {results.load[1]:.1f} after; {results.runs} runs"
    yield from columns(rows, right=(2, 3, 4))


def phase_table(phases: Sequence[Phase]) -> Iterator[str]:
    """One boot: when each phase began and how long it took."""
    rows = [("phase", "from", "to", "seconds", "")]
    for phase in phases:
        beside = "beside the boot" if phase.beside else ""
        rows.append((phase.name, f"{phase.start:.2f}", f"{phase.end:.2f}", f"{phase.seconds:.2f}", beside))
    yield from columns(rows, right=(1, 2, 3))


def columns(rows: Sequence[Sequence[str]], right: Sequence[int]) -> Iterator[str]:
    """Cells under each other; the columns in ``right`` end together."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def _verdict(value: float, bound: float) -> str:
    return "ok" if value <= bound else "over"
