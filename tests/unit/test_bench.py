# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Tests of the benchmark's results: medians, ratios, moved rows, the phases of a boot, the picture."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
import signal
import statistics
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import bench
import pytest
from benchmark import inside, picture, results
from benchmark.containers import BenchError
from benchmark.phases import Phase, Seen, timeline, waiting_tasks
from benchmark.results import Results, Series
from hypothesis import given, settings
from hypothesis import strategies as st

SVG = "{http://www.w3.org/2000/svg}"
seconds = st.floats(0.01, 100, allow_nan=False)
samples = st.lists(seconds, min_size=1, max_size=6)


# -- medians and ratios -------------------------------------------------------------------------------------------


def test_a_row_has_the_ratio_of_the_medians() -> None:
    row = Series("boot", "boot", "s", ours=(1.0, 9.0, 2.0), other=(4.0, 4.5, 0.1), goal=0.5)
    assert results.spread(row.ours) == "2 [1, 9]"
    assert row.ratio == 0.5
    assert row.verdict == "<= 0.5 ok"
    assert replace(row, goal=0.49).verdict == "<= 0.49 over"


def test_a_row_that_is_to_be_as_good_as_another_at_least() -> None:
    row = Series("throughput", "throughput", "Gbit/s", ours=(7.0, 9.0, 8.0), other=(8.0,), least=1.0)
    assert row.verdict == ">= 1 ok"
    assert replace(row, least=1.01).verdict == ">= 1.01 under"
    assert replace(row, other=()).verdict == ""


def test_a_limit_is_for_the_images_own_value() -> None:
    assert Series("pass", "pass", "ms", (29.0, 30.0, 31.0), limit=30.0).verdict == "<= 30 ok"
    assert Series("pass", "pass", "ms", (30.5,), limit=30.0).verdict == "<= 30 over"
    assert Series("pass", "pass", "", (0.0,), limit=0.0).verdict == "<= 0 ok"


def test_without_a_peer_there_is_neither_ratio_nor_verdict() -> None:
    row = Series("boot", "boot", "s", (1.0,), goal=0.8)
    assert row.ratio is None
    assert row.verdict == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (3.0, "3"),
        (1.5749, "1.57"),
        (41.26, "41.3"),
        (126.4, "126"),
        (1234.5, "1234"),
        (0.05, "0.050"),
        (0.0049, "0.005"),
        (-0.0049, "-0.005"),
        (-1.23456, "-1.23"),
    ],
)
def test_numbers_have_three_digits_that_count(value: float, text: str) -> None:
    assert results.number(value) == text


def test_growth_says_how_often_one_agents_time_and_what_each_further_one_adds() -> None:
    grown = results.growth({8: (9.0, 9.0), 1: (2.0, 1.0, 3.0), 4: (5.0,)})
    assert grown == "1: 1.0 x, 4: 2.5 x, 8: 4.5 x; 1.00 s for each further agent"


# -- what moved ---------------------------------------------------------------------------------------------------


def by_counting(one: list[float], other: list[float]) -> float:
    """The test's definition: the share of all ways to deal the values out that part the two at least as far."""

    def apart(picked: tuple[int, ...], values: list[float]) -> float:
        mine = [values[index] for index in picked]
        rest = [values[index] for index in range(len(values)) if index not in picked]
        return abs(sum(a > b for a in mine for b in rest) - len(mine) * len(rest) / 2)

    values = [*one, *other]
    ways = list(itertools.combinations(range(len(values)), len(one)))
    seen = apart(tuple(range(len(one))), values)
    return sum(apart(way, values) >= seen for way in ways) / len(ways)


@given(st.lists(seconds, min_size=2, max_size=10, unique=True), st.data())
def test_chance_is_that_of_counting_all_orders(values: list[float], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(values) - 1))
    one, other = values[:cut], values[cut:]
    assert results.equal_by_chance(one, other) == pytest.approx(by_counting(one, other))


@given(samples, samples)
def test_chance_is_the_same_both_ways_and_ties_prove_nothing(one: list[float], other: list[float]) -> None:
    assert results.equal_by_chance(one, other) == results.equal_by_chance(other, one)
    assert results.equal_by_chance(one, one) == 1.0


def test_five_runs_against_five_can_tell_and_fewer_cannot() -> None:
    assert results.can_tell(5, 5)
    assert not results.can_tell(4, 4)
    slow, fast = (5.0, 5.1, 5.2, 5.3, 9.0), (2.0, 2.1, 2.2, 2.3, 2.4)
    assert results.equal_by_chance(slow, fast) == pytest.approx(2 / math.comb(10, 5))
    assert results.equal_by_chance((*slow[:4], 2.2), fast) > results.SIGNIFICANCE


def result(*series: Series, load: float = 0.1) -> Results:
    return Results("mesos-dind:latest", "peer:latest", 5, "2 CPUs", (load, load), series)


def row(key: str, *ours: float, other: tuple[float, ...] = ()) -> Series:
    return Series(key, f"the {key}", "s", ours, other)


def test_what_moved_is_told_with_its_spread_and_the_rest_is_counted() -> None:
    peer = (1.6, 1.5, 1.7, 1.6, 1.8)
    old = result(
        row("boot", 4.5, 4.4, 4.6, 4.3, 9.0, other=peer),
        row("restart", 2.0, 2.1, 1.9, 2.2, 2.0),
        row("gone", 1.0),
        row("memory", 40.0, 41.0),
        load=2.0,
    )
    new = result(
        row("boot", 1.1, 1.2, 1.0, 1.3, 1.1, other=peer),
        row("restart", 2.15, 2.1, 2.3, 2.25, 2.2),  # slower, but so might chance be: p = 0.04
        row("memory", 20.0, 21.0),
        row("new", 1.0),
    )
    assert list(results.comparison(old, new)) == [
        "against a run of mesos-dind:latest at load 2.0 (now 0.1), median [least, most]:",
        "  moved: the boot: 4.50 [4.30, 9] -> 1.10 [1, 1.30] s, -76%",
        "  2 of 4 rows stayed within the noise",
        "  1 have too few runs to tell (five against five can)",
        "  ratio: the boot: 2.81 -> 0.69",
    ]


def test_a_peer_that_moved_is_told_too() -> None:
    old = result(row("boot", *[1.0] * 5, other=(1.0, 1.1, 1.2, 1.3, 1.4)))
    new = result(row("boot", *[1.0] * 5, other=(2.0, 2.1, 2.2, 2.3, 2.4)))
    (moved,) = [line for line in results.comparison(old, new) if "moved" in line]
    assert moved == "  moved: the boot, what it is compared with: 1.20 [1, 1.40] -> 2.20 [2, 2.40] s, +83%"


def test_processes_that_were_none_are_told_as_a_difference() -> None:
    old, new = result(row("processes", *[0.0] * 5)), result(row("processes", *[3.0] * 5))
    assert any(line.endswith("0 [0, 0] -> 3 [3, 3] s, +3") for line in results.comparison(old, new))


# -- what is stored and shown -------------------------------------------------------------------------------------


@given(st.lists(st.builds(row, st.sampled_from("abc"), seconds, other=samples.map(tuple)), max_size=3))
def test_a_stored_result_reads_back(series: list[Series]) -> None:
    found = replace(result(*series), phases=(Phase("docker run", 0.0, 0.25), Phase("dockerd", 1.0, 1.5, beside=True)))
    found = replace(found, failures=("restart: it never came up",))
    assert Results.from_json(found.to_json()) == found


def test_what_is_no_stored_result_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("", "{}", "[]", '{"series": [{"key": 1}], "phases": []}'):
        (tmp_path / "old.json").write_text(text)
        with pytest.raises(SystemExit):
            bench.parse_arguments(["--compare", str(tmp_path / "old.json")])
        assert "old.json is no stored result" in capsys.readouterr().err


def test_the_table() -> None:
    found = result(
        replace(row("boot", 1.0, 1.2, 1.4, other=(2.0, 2.0, 2.0)), goal=0.8),
        replace(row("pass", 12.0), unit="ms", limit=10.0),
    )
    lines = [re.sub(" +", " ", line) for line in results.table(found).splitlines()]
    assert lines == [
        "2 CPUs; load 0.1 before, 0.1 after; 5 runs",
        " mesos-dind:latest peer:latest ratio",
        "the boot s 1.20 [1, 1.40] 2 [2, 2] 0.60 <= 0.8 ok",
        "the pass ms 12 [12, 12] <= 10 over",
    ]


def test_columns_end_where_they_should() -> None:
    phases = [Phase("imports", 0.0, 0.25), Phase("dockerd", 9.5, 19.75, beside=True)]
    assert results.phase_table(phases).splitlines() == [
        "phase      from     to    seconds",
        "imports    0.00   0.25       0.25",
        "dockerd    9.50  19.75      10.25  beside the boot",
    ]
    rows = [replace(row("boot", 1.2), title="a boot"), replace(row("memory", 100.0, other=(50.0,)), unit="MiB")]
    assert results.table(result(*rows)).splitlines()[1:] == [
        "                   mesos-dind:latest    peer:latest    ratio",
        "a boot      s      1.20 [1.20, 1.20]",
        "the memory  MiB       100 [100, 100]    50 [50, 50]     2.00",
    ]


def test_the_report_says_what_was_measured_and_no_more() -> None:
    phases = (Phase("docker run", 0.0, 0.25),)
    together = [Series(f"together-{count}", f"{count}", "s", (float(count),), (1.0,)) for count in (1, 4)]
    everything = "\n".join(bench.report(replace(result(*together), phases=phases), result(*together)))
    for part in ("growth, mesos-dind:latest: 1: 1.0 x, 4: 4.0 x", "growth, peer:latest", "docker run", "against a run"):
        assert part in everything
    assert "failed" not in everything
    assert "failed: boot: why" in list(bench.report(replace(result(), failures=("boot: why",)), None))
    assert "growth" not in "\n".join(bench.report(result(row("boot", 1.0)), None))


def test_a_row_that_cannot_be_measured_is_told_and_the_others_are_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_bench: object) -> list[Series]:
        raise BenchError("a container never came up")

    measured = Series("restart", "a restart", "s", (1.0,), ())
    monkeypatch.setattr(bench, "ROWS", {"boot": fails, "restart": lambda _bench: [measured]})
    # The session makes no container, so that the test needs no engine.
    monkeypatch.setattr(bench, "Session", lambda: contextlib.nullcontext(SimpleNamespace(clear=lambda: None)))
    monkeypatch.setattr(bench, "docker", lambda *_words: "Docker 0")
    monkeypatch.setattr(signal, "signal", lambda *_handler: None)
    assert bench.main(["--only", "boot,restart", "--runs", "1"]) == 70
    said = capsys.readouterr().out
    assert "failed: boot: a container never came up" in said
    assert "a restart" in said


def test_only_rows_that_there_are_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.parse_arguments(["--only", "boot,phases"]).only == ("boot", "phases")
    assert set(bench.parse_arguments([]).only) == {*bench.ROWS, "phases"}
    with pytest.raises(SystemExit):
        bench.parse_arguments(["--only", "boot,boots"])
    assert "there is no boots" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        bench.parse_arguments(["--runs", "0"])
    assert "--runs='0'" in capsys.readouterr().err


# -- the phases of a boot -----------------------------------------------------------------------------------------

IN_TURN = Seen(
    init=100.2,
    entry=100.3,
    settings=100.5,
    imports=0.4,
    daemons={"containerd": 102.0, "dockerd": 102.25},
    ready={"containerd": 102.15},
    report={
        "steps": [
            {"step": "ansible", "seconds": 1.0},
            {"step": "storage", "seconds": 0.5},
            {"step": "engine", "seconds": 1.0},
            {"step": "agent", "seconds": 0.1},
        ]
    },
)


def told(seen: Seen) -> dict[str, tuple[float, float, bool]]:
    return {
        phase.name: (round(phase.start, 3), round(phase.end, 3), phase.beside) for phase in timeline(seen, 100.0, 103.0)
    }


def test_the_phases_of_a_boot_follow_each_other_and_leave_nothing_out() -> None:
    found = told(IN_TURN)
    assert found == {
        "docker run": (0.0, 0.2, False),
        "init, supervisor": (0.2, 0.3, False),
        "entry point": (0.3, 0.5, False),
        "imports": (0.5, 0.9, False),
        "play set-up": (0.9, 1.3, False),
        "role storage": (1.3, 1.8, False),
        "role engine": (1.8, 2.8, False),
        "containerd": (2.0, 2.15, True),
        "dockerd": (2.25, 2.8, True),
        "hand-over": (2.8, 3.0, False),
    }
    leave_nothing_out(found)


def leave_nothing_out(found: dict[str, tuple[float, float, bool]]) -> None:
    own = [phase for phase in found.values() if not phase[2]]
    assert own[0][0] == 0.0
    assert all(one[1] == next_one[0] for one, next_one in itertools.pairwise(own))
    assert own[-1][1] == 3.0


def test_what_was_done_while_ansible_was_loaded_is_beside_the_boot() -> None:
    steps = [
        {"step": "ansible", "at": 0.0, "seconds": 1.0},
        {"step": "storage", "at": 0.25, "seconds": 0.5},
        {"step": "engine", "at": 0.75, "seconds": 1.5},
        {"step": "agent", "at": 2.5, "seconds": 0.1},
    ]
    found = told(replace(IN_TURN, report={"steps": steps}))
    assert found["role storage"] == (0.55, 1.05, True)
    assert found["role engine"] == (1.05, 2.55, True)
    assert found["dockerd"] == (2.25, 2.55, True)
    assert found["play's tasks"] == (1.3, 2.8, False)
    leave_nothing_out(found)


def test_a_step_that_says_when_it_began_is_believed() -> None:
    steps = [{"step": "ansible", "at": 0.0, "seconds": 1.0}, {"step": "engine", "at": 1.25, "seconds": 1.0}]
    assert told(replace(IN_TURN, report={"steps": steps}))["role engine"] == (1.55, 2.55, False)


def test_what_is_not_known_is_left_open() -> None:
    found = told(replace(IN_TURN, ready={}, report={}))
    assert found["containerd"] == (2.0, 2.25, True), "until the next one starts"
    assert found["dockerd"] == (2.25, 3.0, True), "until all is up"
    assert "play set-up" not in found


def test_no_phase_ends_before_it_begins() -> None:
    """The kernel's timestamps are hundredths of a second; a file's timestamps are finer."""
    assert told(replace(IN_TURN, settings=100.29))["entry point"] == (0.3, 0.3, False)


def test_imports_that_took_longer_when_measured_apart_stay_within_the_boot() -> None:
    found = told(replace(IN_TURN, imports=7.0))
    assert found["imports"] == (0.5, 1.3, False)
    assert found["play set-up"] == (1.3, 1.3, False)


def bars(drawn: ElementTree.Element) -> list[tuple[float, float, float, float]]:
    """The left, top, right and bottom end of each phase's bar, in the picture's units."""
    found = []
    for group in drawn.iter(f"{SVG}g"):
        if group.attrib.get("id", "").startswith("phase-"):
            (path,) = group.iter(f"{SVG}path")
            x, y = zip(*(map(float, point) for point in re.findall(r"[ML] (\S+) (\S+)", path.attrib["d"])), strict=True)
            found.append((min(x), min(y), max(x), max(y)))
    return found


# A picture takes 0.1 s, the first one longer: matplotlib looks for the fonts.
@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(seconds, seconds), min_size=1, max_size=12), st.text(max_size=30))
def test_the_picture_is_well_formed_and_its_bars_lie_within_it(spans: list[tuple[float, float]], title: str) -> None:
    printable = "".join(letter for letter in title if letter.isprintable())
    phases = [Phase(f"<{index}> & co", start, start + length) for index, (start, length) in enumerate(spans)]
    drawn = ElementTree.fromstring(picture.svg(phases, printable))  # noqa: S314 - our own
    width, height = (float(end) for end in drawn.attrib["viewBox"].split()[2:])
    found = bars(drawn)
    assert len(found) == len(phases)
    labels = [text for text in drawn.iter(f"{SVG}text") if "<" in (text.text or "")]
    for label, (left, top, right, bottom) in zip(labels, found, strict=True):
        assert 0 < float(label.attrib["x"]) < left + 0.01
        assert right < width
        assert 0 <= top < bottom < height


def test_a_bar_is_where_and_as_long_as_its_phase() -> None:
    phases = [Phase("boot", 0.0, 1.0), Phase("dockerd", 0.5, 1.0, beside=True)]
    drawn = picture.svg(phases, "One boot")
    (boot_left, _, boot_right, _), (left, _, right, _) = bars(ElementTree.fromstring(drawn))  # noqa: S314 - our own
    assert left == pytest.approx((boot_left + boot_right) / 2)
    assert right == pytest.approx(boot_right)
    assert [picture.BOOT in drawn, picture.BESIDE in drawn] == [True, True]


def test_the_picture_is_readable_on_any_page_and_the_same_every_time() -> None:
    """White paper under dark text: the page's own colours don't matter."""
    phases = [Phase("boot", 0.0, 1.0)]
    drawn = picture.svg(phases, "One boot")
    paper = next(ElementTree.fromstring(drawn).iter(f"{SVG}path"))  # noqa: S314 - our own
    assert paper.attrib["style"] == "fill: #ffffff"
    assert "<title>One boot</title>" in drawn
    assert "date" not in drawn
    assert drawn == picture.svg(phases, "One boot")


# -- inside the container -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("module", "role"), inside.MODULES)
def test_a_core_is_called_with_every_parameter_of_its_module(module: str, role: str) -> None:
    given = inside.parameters(module, role, {"storage_size": {"__ansible_unsafe": "7"}, "network_size": None})
    if module == "loop_storage":
        assert given["size"] == "7"
        assert given["strategy"] == "auto"
    if module == "bridged_net":
        assert given["size"] is None
        assert given["verify"] is True
    assert given["state"] == "present"
    assert json.dumps(given)


def test_passes_count_time_and_processes() -> None:
    milliseconds, processes = inside.repeated(lambda runner: runner.run("true"))
    assert processes == [1] * inside.PASSES
    assert statistics.median(milliseconds) > 0


def test_a_task_counts_only_where_its_work_had_been_done() -> None:
    steps = [
        {"step": "ansible", "at": 0.0, "seconds": 0.8, "told": 0.8, "ahead": False},
        {"step": "cgroups", "at": 0.1, "seconds": 0.1, "told": 0.83, "ahead": True},
        {"step": "network", "at": 0.2, "seconds": 0.3, "told": 0.85, "ahead": True},
        {"step": "engine", "at": 0.5, "seconds": 0.6, "told": 1.12, "ahead": True},
        {"step": "agent", "at": 1.12, "seconds": 0.1, "told": 1.22, "ahead": False},
    ]
    assert list(waiting_tasks({"steps": steps})) == pytest.approx([0.03, 0.02])
    assert list(waiting_tasks({})) == []
