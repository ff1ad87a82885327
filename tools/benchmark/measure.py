# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The rows of the benchmark: what each one does, and how often, in turns with the peer."""

from __future__ import annotations

import functools
import http.client
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.containers import COMMAND, LINE, Attached, BenchError, Session, docker, docker_bytes, memory
from benchmark.phases import Phase, Seen, timeline, waiting_tasks
from benchmark.results import Series
from docker_engine.images import TASK_IMAGE

INSIDE = Path(__file__).with_name("inside.py")
TOGETHER = (1, 4, 8, 16)
DATA_ROOT = "/var/lib/docker"
# What a pass that changes nothing may cost: milliseconds, processes.
LIMITS = {"cgroup_mounts": (10.0, 0), "loop_storage": (30.0, 3), "bridged_net": (20.0, 3)}
AWAY_LIMIT = 2.0  # seconds
TASK_LIMIT = 30.0  # milliseconds, with all that Ansible adds
PARTS = {"overlay_probe": "loop_storage: the overlay probe alone", "storage_decision": "loop_storage: the decision"}
DOWNLOAD = 128 * 1024 * 1024  # bytes
DOWNLOADS = 16

Values = Mapping[str, float]


@dataclass(frozen=True)
class Halves:
    """The values of the image and of its peer, in the order of the runs."""

    ours: list[float]
    other: list[float]

    def row(self, key: str, title: str, unit: str, goal: float | None = None) -> Series:
        return Series(key, title, unit, tuple(self.ours), tuple(self.other), goal=goal)


@dataclass(frozen=True)
class Bench:
    """What every row needs. ``peer`` is empty where there is none."""

    session: Session
    image: str
    peer: str
    runs: int
    began: float

    def say(self, text: str) -> None:
        print(f"bench: [{time.monotonic() - self.began:6.1f} s] {text}", file=sys.stderr, flush=True)

    def turns(self) -> Iterator[tuple[int, str]]:
        """Each run's number and image; who comes first changes, so that neither always follows the other."""
        images = [self.image, self.peer] if self.peer else [self.image]
        for run in range(self.runs):
            for image in images if run % 2 == 0 else reversed(images):
                yield run + 1, image

    def alternate(self, title: str, measure: Callable[[str], Values]) -> dict[str, Halves]:
        """What ``measure`` finds of an image, by key, in turns."""
        found: dict[str, Halves] = defaultdict(lambda: Halves([], []))
        for run, image in self.turns():
            values = measure(image)
            self.say(f"{title} {run}/{self.runs} {image}: {shown(values)}")
            for key, value in values.items():
                (found[key].ours if image == self.image else found[key].other).append(value)
        return found


def shown(values: Values) -> str:
    return ", ".join(f"{key} {value:.2f}" for key, value in values.items())


def agent_options(number: int = 1) -> tuple[str, ...]:
    """Loop storage and a range of its own in bridged mode; far from the first ranges, which people use."""
    return ("--privileged", "--env", f"DOCKER_NETWORK_OFFSET=0.0.{100 + number}.0", "--env", "VAR_LIB_DOCKER_SIZE=5")


# -- (a), (b), (c): one agent -------------------------------------------------------------------------------------


def fresh_boot(bench: Bench) -> list[Series]:
    def measure(image: str) -> Values:
        return net_and_gross(bench, image, agent_options())

    found = bench.alternate("fresh boot", measure)
    return net_series("boot", "fresh boot (loop, bridged)", found, goal=0.8)


def volume_boot(bench: Bench) -> list[Series]:
    def measure(image: str) -> Values:
        volume = bench.session.volume()
        values = net_and_gross(bench, image, (*agent_options(), "--volume", f"{volume}:{DATA_ROOT}"))
        docker("volume", "rm", volume)
        return values

    found = bench.alternate("boot on a volume", measure)
    return net_series("volume", "fresh boot on a volume (overlay)", found)


def net_and_gross(bench: Bench, image: str, options: Sequence[str]) -> Values:
    bare = run_bare(bench, image, options)
    without = bare.await_line()
    bench.session.remove(bare)
    agent = bench.session.run(image, *COMMAND, options=options)
    gross = agent.await_line()
    bench.session.remove(agent)
    return {"net": gross - without, "gross": gross}


def run_bare(bench: Bench, image: str, options: Sequence[str]) -> Attached:
    """The same container without its entry point: what `docker run` itself takes."""
    return bench.session.run(image, *COMMAND[1:], options=(*options, "--entrypoint", COMMAND[0]))


def net_series(key: str, title: str, found: Mapping[str, Halves], goal: float | None = None) -> list[Series]:
    return [
        found["net"].row(key, f"{title}, net", "s", goal),
        found["gross"].row(f"{key}-gross", f"{title}, gross", "s"),
    ]


def restart(bench: Bench) -> list[Series]:
    def stopped(attached: Attached) -> Attached:
        attached.await_line()
        docker("stop", attached.name)
        return attached

    def again(container: Attached) -> float:
        life = bench.session.start_again(container.name)
        seconds = life.await_line()
        docker("stop", life.name)
        bench.session.detach(life)
        return seconds

    images = [image for image in (bench.image, bench.peer) if image]
    bare = {image: stopped(run_bare(bench, image, agent_options())) for image in images}
    agents = {image: stopped(bench.session.run(image, *COMMAND, options=agent_options())) for image in images}

    def measure(image: str) -> Values:
        without, gross = again(bare[image]), again(agents[image])
        return {"net": gross - without, "gross": gross}

    found = bench.alternate("restart", measure)
    bench.session.remove(*bare.values(), *agents.values())
    return net_series("restart", "restart of a stopped container", found, goal=0.8)


# -- (d), (e): several agents, and what one keeps -----------------------------------------------------------------


def together(bench: Bench) -> list[Series]:
    def measure(image: str, number: int) -> Values:
        agents = [bench.session.run(image, *COMMAND, options=agent_options(index)) for index in range(1, number + 1)]
        last = max(agent.began + agent.await_line() for agent in agents)
        bench.session.remove(*agents)
        return {"all up": last - agents[0].began}

    rows = []
    for number in TOGETHER:
        found = bench.alternate(f"{number} at once", functools.partial(measure, number=number))["all up"]
        title = f"{number} agent{'s' if number > 1 else ''} at once, until all are up"
        goal = 0.8 if number == 8 else None
        rows.append(found.row(f"together-{number}", title, "s", goal))
    return rows


def resident(bench: Bench) -> list[Series]:
    def measure(image: str) -> Values:
        agent = bench.session.run(image, *COMMAND, options=agent_options())
        agent.await_line()
        used = memory(agent.name)
        bench.session.remove(agent)
        return {"proportional": used.proportional, "anonymous": used.anonymous}

    found = bench.alternate("memory", measure)
    return [
        found["proportional"].row("memory", "memory after the hand-over (PSS)", "MiB", goal=1.1),
        found["anonymous"].row("memory-anonymous", "of it not backed by files", "MiB"),
    ]


# -- (f): one boot ------------------------------------------------------------------------------------------------


def breakdown(bench: Bench) -> tuple[list[Series], list[Phase]]:
    """The phases of every run as rows, and those of the run of median length."""
    boots = []
    tasks: list[float] = []
    for run in range(bench.runs):
        with booted(bench) as (agent, seconds):
            seen = Seen(**ask_inside(agent, "phases"))
            boots.append(timeline(seen, agent.began, agent.began + seconds))
            tasks += [round(seconds * 1000, 3) for seconds in waiting_tasks(seen.report)]
        bench.say(f"phases {run + 1}/{bench.runs}: {seconds:.2f} s")
    lengths: dict[str, list[float]] = defaultdict(list)
    for phase in (phase for phases in boots for phase in phases):
        lengths[phase.name].append(phase.seconds)
    rows = [Series(f"phase-{name}", f"phase: {name}", "s", tuple(values)) for name, values in lengths.items()]
    if tasks:
        title = "a task of the boot whose work is done"
        rows.insert(0, Series("boot-task", title, "ms", tuple(tasks), limit=TASK_LIMIT))
    by_length = sorted(boots, key=lambda phases: max(phase.end for phase in phases))
    return rows, by_length[len(boots) // 2]


@contextmanager
def booted(bench: Bench) -> Iterator[tuple[Attached, float]]:
    """An agent of the image, up, and the seconds until it was."""
    agent = bench.session.run(bench.image, *COMMAND, options=agent_options())
    yield agent, agent.await_line()
    bench.session.remove(agent)


def ask_inside(agent: Attached, question: str) -> Any:
    python = "/opt/mesos-dind/bin/python"
    return json.loads(
        docker("exec", "--interactive", agent.name, python, "-I", "-", question, stdin=INSIDE.read_bytes())
    )


# -- (g): what costs although it changes nothing ------------------------------------------------------------------


def module_passes(bench: Bench) -> list[Series]:
    with booted(bench) as (agent, _seconds):
        cores, tasks = ask_inside(agent, "modules"), ask_inside(agent, "tasks")
    bench.say("passes that change nothing: done")
    return [
        *(series for name, measured in cores.items() for series in pass_series(name, measured)),
        *(
            Series(f"task-{role}", f"role {role}, run again by `mesos-dind converge`", "ms", tuple(values))
            for role, values in tasks.items()
        ),
    ]


def pass_series(name: str, measured: Mapping[str, Sequence[float]]) -> Iterator[Series]:
    milliseconds, processes = LIMITS.get(name, (None, None))
    title = PARTS.get(name, f"{name}: a pass without a change")
    yield Series(f"pass-{name}", title, "ms", tuple(measured["ms"]), limit=milliseconds)
    yield Series(f"pass-{name}-processes", f"{title}, processes", "", tuple(measured["processes"]), limit=processes)


# -- (h): supervision ---------------------------------------------------------------------------------------------


def supervision(bench: Bench) -> list[Series]:
    """How long an inner container, which lives on, can't be used when a daemon of the engine was killed."""
    archive = docker_bytes("save", TASK_IMAGE)
    found: dict[str, list[float]] = defaultdict(list)
    for run in range(bench.runs):
        with booted(bench) as (agent, _seconds):
            docker("exec", "--interactive", agent.name, "docker", "load", "--quiet", stdin=archive)
            docker("exec", agent.name, "docker", "run", "--detach", TASK_IMAGE, "sleep", "infinity")
            away = ask_inside(agent, "supervision")
        bench.say(f"supervision {run + 1}/{bench.runs}: {shown(away)}")
        for name, seconds in away.items():
            found[name].append(seconds)
    title = "killed, until an inner container is of use"
    return [
        Series(f"killed-{name}", f"{name} {title}", "s", tuple(values), limit=AWAY_LIMIT)
        for name, values in found.items()
    ]


# -- (i): throughput ----------------------------------------------------------------------------------------------


def throughput(bench: Bench) -> list[Series]:
    """From a container in an agent in bridged mode to this machine, beside a container of the outer bridge itself.

    What is sent lies in memory in both, so that they differ in the network only. Downloads take turns one by one, since
    a busy machine is not the same a second later. Both are made anew for every run: two containers that are alike
    differ by up to 8 %, for as long as they live, by where in memory their file lies.
    """
    found: dict[str, list[float]] = {"inner": [], "plain": []}
    with booted(bench) as (agent, _seconds):
        docker("exec", "--interactive", agent.name, "docker", "load", "--quiet", stdin=docker_bytes("save", TASK_IMAGE))
        for run in range(bench.runs):
            with serving(bench, agent, inner_first=run % 2 == 0) as servers:
                rates: dict[str, list[float]] = {name: [] for name in servers}
                for turn in range(DOWNLOADS):
                    for name in sorted(servers, reverse=turn % 2 == 0):
                        rates[name].append(download(servers[name]))
            for name, values in rates.items():
                found[name].append(statistics.median(values))
            bench.say(f"throughput {run + 1}/{bench.runs}: {shown({name: found[name][-1] for name in found})} Gbit/s")
    title = "throughput, inner container to host (beside it: a plain one)"
    return [Series("throughput", title, "Gbit/s", tuple(found["inner"]), tuple(found["plain"]), least=1.0)]


@contextmanager
def serving(bench: Bench, agent: Attached, inner_first: bool) -> Iterator[dict[str, str]]:
    """The addresses of two new containers that serve the file, one of the agent and one of the outer engine."""
    blocks = DOWNLOAD // 1024**2
    serve = (
        f"dd if=/dev/zero of=/www/zeros bs=1M count={blocks} 2>/dev/null; httpd -h /www; echo {LINE}; sleep infinity"
    )
    options = ("--mount", "type=tmpfs,destination=/www")
    command = ("sh", "-c", serve)
    started: dict[str, Attached] = {}
    for name in sorted(("inner", "plain"), reverse=not inner_first):
        if name == "inner":
            started[name] = bench.session.execute(
                agent, "docker", "run", "--name", "server", *options, TASK_IMAGE, *command
            )
        else:
            started[name] = bench.session.run(TASK_IMAGE, *command, options=options)
        started[name].await_line()
    address = "{{.NetworkSettings.Networks.bridge.IPAddress}}"
    yield {
        "inner": docker("exec", agent.name, "docker", "inspect", "--format", address, "server"),
        "plain": docker("inspect", "--format", address, started["plain"].name),
    }
    docker("exec", agent.name, "docker", "rm", "--force", "server")
    bench.session.detach(started["inner"])
    bench.session.remove(started["plain"])


def download(address: str) -> float:
    """Fetch the server's file; Gbit/s."""
    connection = http.client.HTTPConnection(address, timeout=60)
    buffer = bytearray(1024 * 1024)
    began = time.perf_counter()
    connection.request("GET", "/zeros")
    with connection.getresponse() as answer:
        received = 0
        while count := answer.readinto(buffer):
            received += count
    connection.close()
    if received != DOWNLOAD:
        raise BenchError(f"{address} sent {received} bytes and not {DOWNLOAD}")
    return received * 8 / 1e9 / (time.perf_counter() - began)
