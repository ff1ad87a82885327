"""How a boot may end, whatever it was given."""

from __future__ import annotations

from agents import Agent, assert_untouched

SAID = "handed over"
COMMAND = ("/bin/sh", "-c", f"echo {SAID}")
LONGEST = 1200  # characters of one line
# Words of a program that was surprised.
SURPRISED = ("Traceback", "Task failed", "this is a bug", "[ERROR]", "Exception", "Errno")


def assert_ends_well(agent: Agent) -> int:
    """Assert that the boot reached COMMAND, or said in one line why not. Returns the exit status."""
    status = agent.wait()
    lines = agent.stderr()
    text = "\n".join(lines)
    assert status in (0, 64, 70), text
    assert not [word for word in SURPRISED if word in text], text
    assert all(len(line) <= LONGEST for line in lines), text
    assert (SAID in agent.container.logs(stderr=False).decode()) is (status == 0), text
    if status:
        assert lines[-1].startswith("mesos-dind: "), text
    if status == 64:
        assert len(lines) == 1, text
        assert_untouched(agent)
    return status
