"""Kill bridged_net between any two steps, in both directions. Runs in a machine with systemd-networkd or ifupdown.

    python3 interrupted.py PARAMS

PARAMS are the module's, as JSON. Prints the interruptions, and fails at the first one after which the next run does
not reach its goal.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import core as bridged_net
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.inspect import inspect
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.parameters import Desired
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.ifupdown import MoveClient
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.networkd import Follow
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.write_files import WriteFiles
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.plan import plan
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import Roots
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.target import resolve
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.uplink import own_routes
from ansible_collections.mesos.dind.plugins.module_utils._host import ifupdown
from ansible_collections.mesos.dind.plugins.module_utils._kernel import links
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Network
from ansible_collections.mesos.dind.plugins.module_utils._plan import Outcome, Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

ROOTS = Roots()
ABSENT = {"state": "absent"}


@dataclasses.dataclass(frozen=True)
class Unmarked(Step[Any]):
    """A run that was killed after networkd had followed and before the run recorded that."""

    follow: Follow

    def __str__(self) -> str:
        return f"{self.follow}, but for the mark"

    def do(self, runner: Runner) -> None:
        mark = self.follow.folders.marker.read_text()
        self.follow.do(runner)
        self.follow.folders.marker.write_text(mark)


@dataclasses.dataclass(frozen=True)
class Doubled(Step[Any]):
    """A run that was killed after it had started the new dhclient and before it ended the old one."""

    move: MoveClient

    def __str__(self) -> str:
        return f"{self.move}, but for the old one"

    def do(self, runner: Runner) -> None:
        self.move.start(self.move.source, self.move.target, runner)


def converge(params: Mapping[str, Any]) -> Outcome:
    return bridged_net.core(params, Runner(), False, ROOTS)


def steps(params: Mapping[str, Any]) -> list[Step[Any]]:
    desired = Desired.of(params)
    state = inspect(desired, Runner(), ROOTS)
    return plan(resolve(desired, state), state, ROOTS)


def interruptions(planned: Sequence[Step[Any]]) -> Iterator[list[Step[Any]]]:
    """The prefixes of a plan, from the first step that writes files on; some end within their last step."""
    first = next(index for index, step in enumerate(planned) if isinstance(step, WriteFiles))
    for index in range(first, len(planned)):
        step = planned[index]
        if isinstance(step, WriteFiles):
            for count in range(len(step.after)):
                yield [*planned[:index], dataclasses.replace(step, after=dict([*step.after.items()][:count]))]
            for count in range(len(step.before) if not step.after else 0):
                yield [*planned[:index], dataclasses.replace(step, after=dict([*step.before.items()][:count]))]
        if isinstance(step, Follow):
            yield [*planned[:index], Unmarked(step)]
        if isinstance(step, MoveClient):
            yield [*planned[:index], Doubled(step)]
        yield [*planned[: index + 1]]


@dataclasses.dataclass(frozen=True)
class Arranged:
    """The network. ``up`` is ifupdown's state of each device; ``leasing`` are the devices that have a dhclient."""

    network: Network
    up: Mapping[str, str]
    leasing: Sequence[str]


def arranged() -> Arranged:
    """The network, without the attributes that change by themselves."""
    found = links.read(Runner())
    there = [
        dataclasses.replace(link, index=0, addresses=tuple(a for a in link.addresses if not a.is_link_local))
        for link in found.links
    ]
    routes = [route for link in found.links for route in own_routes(found, link.name)]
    network = Network(tuple(sorted(there, key=str)), tuple(sorted(routes, key=str)), found.neighbours)
    leasing = [link.name for link in network.links if ifupdown.is_alive(ROOTS.ifupdown.client(link.name))]
    return Arranged(network, ifupdown.states(ROOTS.ifupdown.states), leasing)


def reach(params: Mapping[str, Any], goal: Arranged, name: str) -> None:
    converge(params)
    if arranged() != goal:
        raise SystemExit(f"{name}: {params}: {arranged()} is not {goal}")
    left = converge(params).actions
    if left:
        raise SystemExit(f"{name}: {params}: a further run did {left}")


def main(params: Mapping[str, Any]) -> None:
    before, there = arranged(), steps(params)
    converge(params)
    after, back = arranged(), steps(ABSENT)
    for planned, start in ((there, ABSENT), (back, params)):
        for done in interruptions(planned):
            for goal, expected in ((params, after), (ABSENT, before)):
                converge(start)
                for step in done:
                    step.do(Runner())
                reach(goal, expected, f"after {done[-1]}")
                print(f"after {done[-1]}: {goal}", flush=True)
    converge(ABSENT)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
