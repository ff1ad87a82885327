"""What the stand-in recorded of its start: the hand-over, as the program sees it that the boot becomes."""

from __future__ import annotations

import re

from agents import Agent


def argv(agent: Agent) -> list[str]:
    """Without the program's own name."""
    return agent.read("/run/standin/argv").splitlines()


def environ(agent: Agent) -> dict[str, str]:
    agent.await_line("stand-in agent: running")  # it has recorded all by then
    entries = agent.read("/run/standin/environ").split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def given(agent: Agent) -> dict[str, str]:
    """What the container was started with: the environment of its first process."""
    entries = agent.read("/proc/1/environ").split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def assert_is_the_process_that_was_ansible(agent: Agent) -> None:
    pid = agent.read("/run/standin/pid").strip()
    assert pid != "1"
    assert pid == agent.read("/run/mesos-dind/agent.pid").strip()
    commands = agent.run("ps", "-e", "-o", "comm=,args=")
    assert "dockerd" in commands
    assert "python" not in commands
    assert "ansible" not in commands


def assert_starts_as_from_a_shell(agent: Agent, folder: str) -> None:
    """Working folder, descriptors, no signal ignored or blocked (Python ignores PIPE and XFSZ)."""
    assert agent.read("/run/standin/cwd").strip() == folder
    links = re.findall(r" (\d+) -> (\S+)", agent.read("/run/standin/descriptors"))
    # 10 and up are the stand-in's shell's own, for the script itself (dash: savefd).
    descriptors = {int(number): target for number, target in links if int(number) < 10}
    assert sorted(descriptors) == [0, 1, 2]
    assert descriptors[0] == "/dev/null"
    status = dict(line.split(":", 1) for line in agent.read("/run/standin/status").splitlines())
    # 32 and 33 are glibc's own: it lets no program set them, and its posix_spawn, by which make starts what it
    # starts, leaves them ignored for everything below (sysdeps/unix/sysv/linux/spawni.c), the outer engine included.
    glibcs = 1 << 31 | 1 << 32
    assert int(status["SigIgn"], 16) & ~glibcs == 0
    assert int(status["SigBlk"], 16) == 0
    assert status["Umask"].strip() == "0022"
