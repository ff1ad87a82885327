"""The stand-in's record of its start: the hand-over, as the program sees it."""

from __future__ import annotations

import re

from agents import Agent


def argv(agent: Agent) -> list[str]:
    """The agent's arguments, without the program's name."""
    return agent.read("/run/standin/argv").splitlines()


def environ(agent: Agent) -> dict[str, str]:
    agent.await_line("stand-in agent: running")  # the stand-in has recorded its start by then
    entries = agent.read("/run/standin/environ").split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def given(agent: Agent) -> dict[str, str]:
    """The environment of the container's first process, as the user gave it."""
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
    """Assert the working folder and the descriptors, and that no signal is ignored or blocked.

    Python ignores PIPE and XFSZ.
    """
    assert agent.read("/run/standin/cwd").strip() == folder
    links = re.findall(r" (\d+) -> (\S+)", agent.read("/run/standin/descriptors"))
    # From 10 on, descriptors are the stand-in's shell's, for the script itself (dash: savefd).
    descriptors = {int(number): target for number, target in links if int(number) < 10}
    assert sorted(descriptors) == [0, 1, 2]
    assert descriptors[0] == "/dev/null"
    status = dict(line.split(":", 1) for line in agent.read("/run/standin/status").splitlines())
    # glibc reserves 32 and 33 and lets no program set them. make uses glibc's posix_spawn, which leaves them ignored in
    # all descendants, the outer engine included (sysdeps/unix/sysv/linux/spawni.c).
    glibcs = 1 << 31 | 1 << 32
    assert int(status["SigIgn"], 16) & ~glibcs == 0
    assert int(status["SigBlk"], 16) == 0
    assert status["Umask"].strip() == "0022"
