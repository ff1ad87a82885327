"""The effect of limits on inner containers. This lane tries it on its host's cgroups, and tests/vm on cgroup v2.

The containers themselves report what happened, so that no test needs to know the place of their groups.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

TASK_IMAGE = "mesos-dind-task:latest"

# One buffer larger than any limit here. The shell survives and reads the kernel's counters of its group: first v1's
# files, then v2's.
HOG = """\
exec 2>/dev/null
dd if=/dev/zero of=/dev/null bs=1500M count=1
echo "status $?"
for group in /sys/fs/cgroup/memory /sys/fs/cgroup; do
    [ -e $group/memory.oom_control ] && echo "peak $(cat $group/memory.max_usage_in_bytes)"
    [ -e $group/memory.events ] && echo "peak $(cat $group/memory.peak)"
    cat $group/memory.oom_control $group/memory.events
done
"""

# At the process limit, the shell can run builtins only.
BOMB = """\
exec 2>/dev/null
(for number in $(seq 100); do sleep 1000 & done)
set -- /proc/[0-9]*
for group in /sys/fs/cgroup/pids /sys/fs/cgroup; do
    [ -e $group/pids.events ] && read -r name refused <$group/pids.events
done
echo "processes $#"
echo "refused $refused"
"""

BUSY = "while :; do :; done"
ENOUGH = 300  # processor time in hundredths of a second (USER_HZ)


class Agent(Protocol):
    def run(self, *argv: str) -> str:
        """The output of a command in the agent's container, which must succeed."""

    def inner(self, *argv: str) -> str:
        """The output of a docker command of the agent's engine, which must succeed."""


@contextlib.contextmanager
def running(agent: Agent, script: str, *options: str) -> Iterator[str]:
    """An inner container that runs a shell script. The context's end removes it."""
    made = agent.inner("run", "--detach", "--network=none", *options, TASK_IMAGE, "sh", "-c", script).strip()
    try:
        yield made
    finally:
        agent.inner("rm", "--force", made)


def told_by(agent: Agent, script: str, *options: str) -> dict[str, int]:
    """The lines ``name number`` that a container writes until it ends."""
    with running(agent, script, *options) as container:
        agent.inner("wait", container)
        return {name: int(number) for name, number in map(str.split, agent.inner("logs", container).splitlines())}


def eat(agent: Agent, memory: str) -> dict[str, int]:
    """The ``status`` of a process that takes 1500 MB, ``oom_kill`` and ``peak`` (bytes) of its container."""
    return told_by(agent, HOG, f"--memory={memory}", f"--memory-swap={memory}")


def multiply(agent: Agent, limit: int) -> dict[str, int]:
    """The number of ``processes`` of a container that starts 100, and the number that the kernel ``refused``."""
    return told_by(agent, BOMB, f"--pids-limit={limit}")


def compete(agent: Agent, shares: int, other_shares: int) -> float:
    """The ratio of two busy containers' times on the same processor."""

    def used() -> tuple[int, int]:
        lines = agent.run("cat", *(f"/proc/{pid}/stat" for pid in pids)).splitlines()
        mine, others = (sum(map(int, line.rpartition(")")[2].split()[11:13])) for line in lines)
        return mine, others

    same = "--cpuset-cpus=0"
    with (
        running(agent, BUSY, same, f"--cpu-shares={shares}") as container,
        running(agent, BUSY, same, f"--cpu-shares={other_shares}") as other,
    ):
        pids = agent.inner("inspect", "--format={{.State.Pid}}", container, other).split()
        before = now = used()
        while now[0] - before[0] < ENOUGH:
            now = used()
    return (now[0] - before[0]) / (now[1] - before[1])
