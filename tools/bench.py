# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Time the boot, in turns with a peer image (inside ``tools/engine.py run``). docs/performance.md describes the rows.

Progress goes to stderr, the result to stdout. The benchmark removes its containers and volumes, also after a signal.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from benchmark import measure, picture, results
from benchmark.containers import BenchError, Session, docker
from benchmark.measure import Bench
from benchmark.phases import Phase
from benchmark.results import Results, Series

FAILURE = 70
ROWS: dict[str, Callable[[Bench], Iterable[Series | Phase]]] = {
    "boot": measure.fresh_boot,
    "restart": measure.restart,
    "volume": measure.volume_boot,
    "together": measure.together,
    "memory": measure.resident,
    "modules": measure.module_passes,
    "supervision": measure.supervision,
    "throughput": measure.throughput,
    "phases": measure.phases,
}


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", default="mesos-dind:latest")
    parser.add_argument("--peer", default="", help="an image to compare with, measured in turns")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--only", type=lambda text: tuple(text.split(",")), default=tuple(ROWS), help=f"some of {','.join(ROWS)}"
    )
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--compare", type=stored, help="a stored result: show what has moved since")
    parser.add_argument("--picture", type=Path, help="draw the phases of a boot to this file, as SVG")
    wanted = parser.parse_args(argv)
    if wanted.peer == wanted.image:
        parser.error(f"--peer='{wanted.peer}' is the image itself: to see the noise, give the image a second tag")
    if wanted.runs < 1:
        parser.error(f"--runs='{wanted.runs}': at least 1 is allowed")
    if unknown := set(wanted.only) - set(ROWS):
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}; allowed are {', '.join(ROWS)}")
    return wanted


def stored(text: str) -> Results:
    try:
        return Results.from_json(Path(text).read_text())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"{text} is no stored result: {error}; give a file of --json") from None


def run(wanted: argparse.Namespace) -> Results:
    """The wanted rows; a row that can't be measured is among the failures. Raises BenchError without an engine."""
    engine = docker("version", "--format", "Docker {{.Server.Version}}")
    machine = f"{os.cpu_count()} CPUs, Linux {platform.release()}, {engine}"
    before = os.getloadavg()[0]
    found: list[Series | Phase] = []
    failures: list[str] = []
    with Session() as session:
        bench = Bench(session, wanted.image, wanted.peer, wanted.runs)
        for name in (name for name in ROWS if name in wanted.only):
            try:
                found += ROWS[name](bench)
            except BenchError as error:
                failures.append(f"{name}: {error}")
                bench.say(f"failed: {name}: {error}")
                session.clear()
    load = (before, os.getloadavg()[0])
    series = tuple(one for one in found if isinstance(one, Series))
    phases = tuple(one for one in found if isinstance(one, Phase))
    return Results(wanted.image, wanted.peer, wanted.runs, machine, load, series, phases, tuple(failures))


def report(found: Results, old: Results | None) -> Iterator[str]:
    yield results.table(found)
    yield from (f"failed: {failure}" for failure in found.failures)
    together = {int(row.key.rpartition("-")[2]): row for row in found.series if row.key.startswith("together-")}
    if together:
        yield f"\ngrowth, {found.image}: " + results.growth({number: row.ours for number, row in together.items()})
        if found.peer:
            yield f"growth, {found.peer}: " + results.growth({number: row.other for number, row in together.items()})
    if found.phases:
        yield "\n" + results.phase_table(found.phases)
    if old:
        yield from ("", *results.comparison(old, found))


def main(argv: Sequence[str]) -> int:
    wanted = parse_arguments(argv)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    try:
        found = run(wanted)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return FAILURE
    if wanted.json:
        wanted.json.parent.mkdir(parents=True, exist_ok=True)
        wanted.json.write_text(found.to_json())
    if wanted.picture and found.phases:
        wanted.picture.write_text(picture.svg(found.phases, f"One boot of {found.image}, in seconds"))
    print("\n".join(report(found, wanted.compare)))
    return FAILURE if found.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
