# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Control groups and hierarchies, read from the kernel's files."""

from __future__ import annotations

import pytest

from ansible_collections.mesos.dind.plugins.module_utils._kernel import mountinfo
from ansible_collections.mesos.dind.plugins.module_utils._kernel.cgroups import (
    Membership,
    hierarchy_names,
    parse_memberships,
)


def test_memberships_are_parsed_with_colons_in_their_paths() -> None:
    parsed = parse_memberships("4:cpu,cpuacct:/a:b\n1:name=systemd:/init.scope\n0::/x\n")
    assert parsed == (
        Membership(4, ("cpu", "cpuacct"), "/a:b"),
        Membership(1, ("name=systemd",), "/init.scope"),
        Membership(0, (), "/x"),
    )
    assert [membership.is_v2 for membership in parsed] == [False, False, True]


@pytest.mark.parametrize("line", ["", "x", "1:cpu", "one:cpu:/"])
def test_a_line_that_is_no_membership_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a line of"):
        parse_memberships(f"0::/\n{line} \n")


def mount(line: str) -> mountinfo.MountPoint:
    return mountinfo.parse(line)[0]


def test_names_of_a_hierarchy_are_told_from_its_other_options() -> None:
    line = "1 0 0:1 / /a rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd"
    assert hierarchy_names(mount(line), {"cpu"}) == ("name=systemd",)
    line = "1 0 0:1 / /a rw - cgroup cgroup rw,clone_children,cpuacct,cpu"
    assert set(hierarchy_names(mount(line), {"cpu", "cpuacct"})) == {"cpu", "cpuacct"}
