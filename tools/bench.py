# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""How long the boot takes, beside a peer image's (inside ``tools/engine.py run``); docs/performance.md says more.

    python3 tools/bench.py [--image mesos-dind:latest] [--peer IMAGE] [--runs 5] [--only ROW,ROW...]
                           [--json FILE] [--compare FILE] [--picture FILE.svg]

What is measured is told on stderr, the result on stdout. Containers and volumes go with it, however it ends.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmark import measure, picture, results
from benchmark.containers import BenchError, Session, docker
from benchmark.measure import Bench
from benchmark.phases import Phase
from benchmark.results import Results, Series

FAILURE = 70
ROWS: dict[str, Callable[[Bench], list[Series]]] = {
    "boot": measure.fresh_boot,
    "restart": measure.restart,
    "volume": measure.volume_boot,
    "together": measure.together,
    "memory": measure.resident,
    "modules": measure.module_passes,
    "supervision": measure.supervision,
    "throughput": measure.throughput,
}
PHASES = "phases"


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time the boot.")
    parser.add_argument("--image", default="mesos-dind:latest")
    parser.add_argument("--peer", default="", help="an image to compare with, measured in turns")
    parser.add_argument("--runs", type=at_least_one, default=5)
    parser.add_argument("--only", type=rows, default=(*ROWS, PHASES), help=f"some of {', '.join((*ROWS, PHASES))}")
    parser.add_argument("--json", type=Path, help="write the result there")
    parser.add_argument("--compare", type=stored, help="a stored result: say what has moved since")
    parser.add_argument("--picture", type=Path, help="draw the phases of a boot there, as SVG")
    wanted = parser.parse_args(argv)
    if wanted.peer == wanted.image:
        parser.error("--peer is the image itself; to see the noise, give it a second tag")
    return wanted


def at_least_one(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def rows(text: str) -> tuple[str, ...]:
    wanted = tuple(text.split(","))
    if unknown := set(wanted) - {*ROWS, PHASES}:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}")
    return wanted


def stored(text: str) -> Results:
    try:
        return Results.from_json(Path(text).read_text())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"{text} is no stored result: {error}") from None


def run(wanted: argparse.Namespace) -> Results:
    """Measure what is wanted; a row that can't be measured is among the failures. Raises BenchError."""
    machine = f"{os.cpu_count()} CPUs, Linux {platform.release()}, " + docker(
        "version", "--format", "Docker {{.Server.Version}}"
    )
    before = os.getloadavg()[0]
    series: list[Series] = []
    phases: list[Phase] = []
    failures: list[str] = []
    with Session() as session:
        bench = Bench(session, wanted.image, wanted.peer, wanted.runs, time.monotonic())
        for name in (name for name in (*ROWS, PHASES) if name in wanted.only):
            try:
                if name == PHASES:
                    lengths, phases = measure.breakdown(bench)
                    series += lengths
                else:
                    series += ROWS[name](bench)
            except BenchError as error:
                failures.append(f"{name}: {error}")
                bench.say(f"failed: {name}: {error}")
                session.clear()
    load = (before, os.getloadavg()[0])
    return Results(wanted.image, wanted.peer, wanted.runs, machine, load, tuple(series), tuple(phases), tuple(failures))


def report(found: Results, old: Results | None) -> Iterator[str]:
    yield from results.table(found)
    yield from (f"failed: {failure}" for failure in found.failures)
    together = {int(one.key.rpartition("-")[2]): one for one in found.series if one.key.startswith("together-")}
    if together:
        yield ""
        yield f"growth, {found.image}: " + results.growth({number: one.ours for number, one in together.items()})
        if found.peer:
            yield f"growth, {found.peer}: " + results.growth({number: one.other for number, one in together.items()})
    if found.phases:
        yield ""
        yield from results.phase_table(found.phases)
    if old:
        yield ""
        yield from results.comparison(old, found)


def store(found: Results, wanted: argparse.Namespace) -> None:
    if wanted.json:
        wanted.json.parent.mkdir(parents=True, exist_ok=True)
        wanted.json.write_text(found.to_json())
    if wanted.picture and found.phases:
        wanted.picture.write_text(picture.svg(found.phases, f"One boot of {found.image}, in seconds"))


def main(argv: Sequence[str]) -> int:
    wanted = parse_arguments(argv)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    try:
        found = run(wanted)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return FAILURE
    store(found, wanted)
    print("\n".join(report(found, wanted.compare)))
    return FAILURE if found.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
