# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The rows of the benchmark: how each row is measured, and its bound. docs/performance.md describes every row."""

from __future__ import annotations

import http.client
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from benchmark.containers import COMMAND, LINE, Attached, BenchError, Session, docker, docker_bytes, memory
from benchmark.phases import Phase, Seen, timeline, waiting_tasks
from benchmark.results import Series
from docker_engine.images import TASK_IMAGE

INSIDE = Path(__file__).with_name("inside.py")
TOGETHER = (1, 4, 8, 16)
# The title of each core, and the most that a pass may cost: milliseconds, processes.
CORES: dict[str, tuple[str, float | None, int | None]] = {
    "cgroup_mounts": ("cgroup_mounts: a pass without a change", 10.0, 0),
    "loop_storage": ("loop_storage: a pass without a change", 30.0, 3),
    "bridged_net": ("bridged_net: a pass without a change", 20.0, 3),
    "overlay_probe": ("loop_storage: the overlay probe alone", None, None),
    "storage_decision": ("loop_storage: the decision", None, None),
}
AWAY_LIMIT = 2.0  # seconds
TASK_LIMIT = 30.0  # milliseconds, with all that Ansible adds
DOWNLOAD = 128 * 1024 * 1024  # bytes
DOWNLOADS = 16
WRITE = f"dd if=/dev/zero of=/www/zeros bs=1M count={DOWNLOAD >> 20} 2>/dev/null"
SERVE = f"{WRITE}; httpd -h /www; echo {LINE}; sleep infinity"


@dataclass(frozen=True)
class Bench:
    """The settings of every row. ``peer`` is empty without a peer."""

    session: Session
    image: str
    peer: str
    runs: int
    began: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        print(f"bench: [{time.monotonic() - self.began:6.1f} s] {text}", file=sys.stderr, flush=True)

    def alternate(self, title: str, measure: Callable[[str], Sequence[float]], *rows: Series) -> list[Series]:
        """``rows`` with their values. ``measure`` is called with an image and returns a value for each row.

        The images take turns. The peer is first in every other run, so that neither image always follows the other.
        """
        found: dict[str, list[Sequence[float]]] = {self.image: [], self.peer: []}
        images = [self.image, self.peer] if self.peer else [self.image]
        for run in range(self.runs):
            for image in images if run % 2 == 0 else reversed(images):
                found[image].append(measure(image))
                values = ", ".join(f"{row.key} {value:.2f}" for row, value in zip(rows, found[image][-1], strict=True))
                self.say(f"{title} {run + 1}/{self.runs} {image}: {values}")
        halves = zip_longest(zip(*found[self.image], strict=True), zip(*found[self.peer], strict=True), fillvalue=())
        return [replace(row, ours=ours, other=other) for row, (ours, other) in zip(rows, halves, strict=True)]

    @contextmanager
    def booted(self, image: str) -> Iterator[tuple[Attached, float]]:
        """An agent that is up, and the seconds until it was."""
        agent = self.session.run(image, *COMMAND, options=agent_options())
        yield agent, agent.await_line()
        self.session.remove(agent)


def agent_options(number: int = 1) -> tuple[str, ...]:
    """Loop storage, and bridged mode with a range for each number, far from the first ranges, which people use."""
    return ("--privileged", "--env", f"DOCKER_NETWORK_OFFSET=0.0.{100 + number}.0", "--env", "VAR_LIB_DOCKER_SIZE=5")


def fresh_boot(bench: Bench) -> list[Series]:
    rows = net_and_gross("boot", "fresh boot (loop, bridged)", goal=0.8)
    return bench.alternate("fresh boot", lambda image: boot(bench, image), *rows)


def volume_boot(bench: Bench) -> list[Series]:
    rows = net_and_gross("volume", "fresh boot on a volume (overlay)")
    volume = f"type=volume,destination=/var/lib/docker,volume-label={bench.session.label}"
    return bench.alternate("boot on a volume", lambda image: boot(bench, image, "--mount", volume), *rows)


def net_and_gross(key: str, title: str, goal: float | None = None) -> list[Series]:
    return [Series(key, f"{title}, net", "s", goal=goal), Series(f"{key}-gross", f"{title}, gross", "s")]


def bare_and_agent(bench: Bench, image: str, *options: str) -> Iterator[Attached]:
    """An agent's container, first with the command in place of the entry point. Each starts when it is asked for."""
    options = (*agent_options(), *options)
    yield bench.session.run(image, *COMMAND[1:], options=(*options, "--entrypoint", COMMAND[0]))
    yield bench.session.run(image, *COMMAND, options=options)


def boot(bench: Bench, image: str, *options: str) -> tuple[float, float]:
    """Seconds, net and gross."""
    seconds = []
    for container in bare_and_agent(bench, image, *options):
        seconds.append(container.await_line())
        bench.session.remove(container)
    return seconds[1] - seconds[0], seconds[1]


def restart(bench: Bench) -> list[Series]:
    def measure(image: str) -> Sequence[float]:
        seconds = []
        for container in stopped[image]:
            life = bench.session.attach(container.name, "start", "--attach", container.name)
            seconds.append(life.await_line())
            docker("stop", life.name)
            bench.session.detach(life)
        return seconds[1] - seconds[0], seconds[1]

    stopped: dict[str, list[Attached]] = {image: [] for image in (bench.image, bench.peer) if image}
    for image, containers in stopped.items():
        for container in bare_and_agent(bench, image):
            container.await_line()
            docker("stop", container.name)
            containers.append(container)
    rows = bench.alternate("restart", measure, *net_and_gross("restart", "restart of a stopped container", goal=0.8))
    bench.session.remove(*chain.from_iterable(stopped.values()))
    return rows


def resident(bench: Bench) -> list[Series]:
    def measure(image: str) -> Sequence[float]:
        with bench.booted(image) as (agent, _seconds):
            return memory(agent.name)

    return bench.alternate(
        "memory",
        measure,
        Series("memory", "memory after the hand-over (PSS)", "MiB", goal=1.1),
        Series("memory-anonymous", "of it not backed by files", "MiB"),
    )


def together(bench: Bench) -> Iterator[Series]:
    def measure(image: str) -> Sequence[float]:
        agents = [bench.session.run(image, *COMMAND, options=agent_options(index)) for index in range(1, number + 1)]
        last = max(agent.began + agent.await_line() for agent in agents)
        bench.session.remove(*agents)
        return (last - agents[0].began,)

    for number in TOGETHER:
        title = f"{number} agent{'s' if number > 1 else ''} at once, until all are up"
        row = Series(f"together-{number}", title, "s", goal=0.8 if number == 8 else None)
        yield from bench.alternate(f"{number} at once", measure, row)


def phases(bench: Bench) -> list[Series | Phase]:
    """The length of each phase of every run, and the phases of the run of median length."""
    boots: list[list[Phase]] = []
    tasks: list[float] = []
    lengths: dict[str, list[float]] = defaultdict(list)
    for run in range(bench.runs):
        with bench.booted(bench.image) as (agent, seconds):
            seen = Seen(**ask_inside(agent, "phases"))
        boots.append(timeline(seen, agent.began, agent.began + seconds))
        tasks += [round(seconds * 1000, 3) for seconds in waiting_tasks(seen.report)]
        for phase in boots[-1]:
            lengths[phase.name].append(phase.seconds)
        bench.say(f"phases {run + 1}/{bench.runs}: {seconds:.2f} s")
    task = Series("boot-task", "a task of the boot whose work is done", "ms", tuple(tasks), limit=TASK_LIMIT)
    by_length = sorted(boots, key=lambda phases: max(phase.end for phase in phases))
    return [
        *([task] if tasks else []),
        *(Series(f"phase-{name}", f"phase: {name}", "s", tuple(values)) for name, values in lengths.items()),
        *by_length[len(boots) // 2],
    ]


def ask_inside(agent: Attached, question: str) -> Any:
    """The answer of inside.py, run in the agent by the image's Python."""
    python = ("/opt/mesos-dind/bin/python", "-I", "-", question)
    return json.loads(docker("exec", "--interactive", agent.name, *python, stdin=INSIDE.read_bytes()))


def module_passes(bench: Bench) -> Iterator[Series]:
    with bench.booted(bench.image) as (agent, _seconds):
        cores, roles = ask_inside(agent, "modules"), ask_inside(agent, "tasks")
    bench.say("passes that change nothing: done")
    for name, (title, most_milliseconds, most_processes) in CORES.items():
        milliseconds, processes = cores[name]
        yield Series(f"pass-{name}", title, "ms", tuple(milliseconds), limit=most_milliseconds)
        yield Series(f"pass-{name}-processes", f"{title}, processes", "", tuple(processes), limit=most_processes)
    for role, milliseconds in roles.items():
        yield Series(f"task-{role}", f"role {role}, run again by `mesos-dind converge`", "ms", tuple(milliseconds))


def supervision(bench: Bench) -> list[Series]:
    """How long `docker exec` fails after a daemon of the engine was killed. The inner container lives on."""

    def measure(image: str) -> Sequence[float]:
        with bench.booted(image) as (agent, _seconds):
            load_task_image(agent)
            docker("exec", agent.name, "docker", "run", "--detach", TASK_IMAGE, "sleep", "infinity")
            away = ask_inside(agent, "supervision")
        return [away[daemon] for daemon in daemons]

    daemons = ("dockerd", "containerd")
    title = "killed, until an inner container is of use"
    rows = (Series(f"killed-{daemon}", f"{daemon} {title}", "s", limit=AWAY_LIMIT) for daemon in daemons)
    return replace(bench, peer="").alternate("supervision", measure, *rows)


def load_task_image(agent: Attached) -> None:
    archive = docker_bytes("save", TASK_IMAGE)
    docker("exec", "--interactive", agent.name, "docker", "load", "--quiet", stdin=archive)


def throughput(bench: Bench) -> list[Series]:
    """Downloads to this machine, from an inner container and, beside it, from a container of the outer engine.

    Both files lie in memory, so only the network differs. Downloads take turns one by one, since the load of a machine
    changes within a second. Each run makes both containers anew: two equal containers differ by up to 8 % as long as
    they live, by where in memory their file lies.
    """
    found: dict[str, list[float]] = {"inner": [], "plain": []}
    with bench.booted(bench.image) as (agent, _seconds):
        load_task_image(agent)
        engines = {"inner": ("exec", agent.name, "docker"), "plain": ()}
        for run in range(bench.runs):
            order = sorted(engines, reverse=run % 2 == 1)
            rates: dict[str, list[float]] = defaultdict(list)
            with ExitStack() as stack:
                addresses = {name: stack.enter_context(serving(bench, engines[name])) for name in order}
                for name in [*order, *reversed(order)] * (DOWNLOADS // 2):
                    rates[name].append(download(addresses[name]))
            for name, values in found.items():
                values.append(statistics.median(rates[name]))
            latest = ", ".join(f"{name} {values[-1]:.2f}" for name, values in found.items())
            bench.say(f"throughput {run + 1}/{bench.runs}: {latest} Gbit/s")
    title = "throughput, inner container to host (beside it: a plain one)"
    return [Series("throughput", title, "Gbit/s", tuple(found["inner"]), tuple(found["plain"]), least=1.0)]


@contextmanager
def serving(bench: Bench, engine: Sequence[str]) -> Iterator[str]:
    """The address of a new container that serves the file. ``engine`` as for Session.run."""
    tmpfs = ("--mount", "type=tmpfs,destination=/www")
    server = bench.session.run(TASK_IMAGE, "sh", "-c", SERVE, options=tmpfs, engine=engine)
    server.await_line()
    yield docker(*engine, "inspect", "--format", "{{.NetworkSettings.Networks.bridge.IPAddress}}", server.name)
    docker(*engine, "rm", "--force", server.name)
    bench.session.detach(server)


def download(address: str) -> float:
    """Download the server's file; Gbit/s."""
    connection = http.client.HTTPConnection(address, timeout=60)
    buffer, received = bytearray(1024 * 1024), 0
    began = time.perf_counter()
    connection.request("GET", "/zeros")
    with connection.getresponse() as answer:
        while count := answer.readinto(buffer):
            received += count
    connection.close()
    if received != DOWNLOAD:
        raise BenchError(f"{address} sent {received} bytes, expected {DOWNLOAD}: run the row `throughput` again")
    return received * 8 / 1e9 / (time.perf_counter() - began)
