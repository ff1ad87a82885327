# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The parser of mountinfo."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mesos.dind.plugins.module_utils._kernel.mountinfo import (
    MountPoint,
    MountTree,
    parse,
)

RECORDED = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime shared:9 master:2 propagate_from:3 - cgroup cgroup rw,devices
98 27 7:3 /sub\040dir /var/lib/my\040docker\134x rw,nosuid - ext4 /dev/loop3 rw,errors=remount-ro
99 98 7:4 / /var/lib/my\040docker\134x rw - xfs /dev/loop4 rw,prjquota
100 27 0:50 / /mnt/tab\011line\012hash\043 rw - fuse.sshfs me@there:/a\040b rw
"""


def test_recorded_lines() -> None:
    mounts = parse(RECORDED)
    assert len(mounts) == 6
    assert mounts[3] == MountPoint(
        mount_id=98,
        parent_id=27,
        device=(7, 3),
        root="/sub dir",
        mount_point="/var/lib/my docker\\x",
        options=("rw", "nosuid"),
        fields=(),
        fstype="ext4",
        source="/dev/loop3",
        super_options=("rw", "errors=remount-ro"),
    )
    assert mounts[2].fields == ("shared:9", "master:2", "propagate_from:3")
    assert [mount.is_shared for mount in mounts] == [False, True, True, False, False, False]
    assert mounts[5].mount_point == "/mnt/tab\tline\nhash#"
    assert mounts[5].source == "me@there:/a b"


def test_of_two_mounts_on_one_place_the_later_is_on_top() -> None:
    mounts = parse(RECORDED)
    tree = MountTree(mounts)
    assert tree.at("/var/lib/my docker\\x") == mounts[4]
    assert tree.at("/var/lib") is None


def test_a_path_lies_on_the_nearest_mount_above() -> None:
    mounts = parse(RECORDED)
    tree = MountTree(mounts)
    assert tree.containing("/var/lib/my docker\\x/a/b") == mounts[4]
    assert tree.containing("/var/lib/my docker\\xyz") == mounts[1]
    assert tree.containing("/") == mounts[1]
    assert MountTree(()).containing("/a") is None


def test_a_mount_covered_by_another_above_it_or_at_the_same_place_is_not_seen() -> None:
    tree = MountTree(
        parse(
            "1 1 0:1 / / rw - rootfs rootfs rw\n"
            "2 1 0:2 / / rw - ext4 /dev/vda rw\n"
            "3 2 0:3 / /sys rw - sysfs sysfs rw\n"
            "4 3 0:4 / /sys/fs/cgroup rw - tmpfs lower rw\n"
            "5 4 0:5 / /sys/fs/cgroup/cpu rw - cgroup hidden rw,cpu\n"
            "6 4 0:6 / /sys/fs/cgroup rw - tmpfs upper rw\n"
            "7 6 0:7 / /sys/fs/cgroup/memory rw - cgroup lower rw,memory\n"
            "8 7 0:8 / /sys/fs/cgroup/memory rw - cgroup upper rw,memory\n"
            "9 8 0:9 / /sys/fs/cgroup/memory/deep rw - tmpfs tmpfs rw\n"
        )
    )
    assert [entry.mount_point for entry in tree.directly_in("/sys/fs/cgroup")] == ["/sys/fs/cgroup/memory"]
    paths = ("/", "/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu", "/sys/fs")
    tops = {path: tree.at(path) for path in paths}
    assert {path: top and top.mount_id for path, top in tops.items()} == {
        "/": 2,
        "/sys/fs/cgroup": 6,
        "/sys/fs/cgroup/memory": 8,
        "/sys/fs/cgroup/cpu": None,
        "/sys/fs": None,
    }


@pytest.mark.parametrize(
    "line", ["nonsense", "1 2 3 4 5 6 7 8 9", "1 2 7:1 / / rw ext4 /dev/x rw", "1 2 7 / / rw - a b c"]
)
def test_another_file_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a line of mountinfo"):
        parse(line + "\n")


WORD = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
PLAIN = st.text("abcdefghijklmnopqrstuvwxyz0123456789=:/", min_size=1)


def escaped(text: str) -> str:
    """As the kernel's mangle() does."""
    return "".join(f"\\{ord(character):03o}" if character in " \t\n\\#" else character for character in text)


@given(
    st.lists(
        st.builds(
            MountPoint,
            mount_id=st.integers(0, 1 << 31),
            parent_id=st.integers(0, 1 << 31),
            device=st.tuples(st.integers(0, 4095), st.integers(0, 1 << 20)),
            root=WORD,
            mount_point=WORD,
            options=st.lists(PLAIN, min_size=1).map(tuple),
            fields=st.lists(st.integers(1, 99).map(lambda peer: f"shared:{peer}"), max_size=2).map(tuple),
            fstype=PLAIN,
            source=WORD,
            super_options=st.lists(PLAIN, min_size=1).map(tuple),
        )
    ).map(tuple)
)
def test_what_the_kernel_writes_is_read_back(mounts: tuple[MountPoint, ...]) -> None:
    text = "".join(
        f"{mount.mount_id} {mount.parent_id} {mount.device[0]}:{mount.device[1]} {escaped(mount.root)}"
        f" {escaped(mount.mount_point)} {','.join(mount.options)} {''.join(field + ' ' for field in mount.fields)}-"
        f" {mount.fstype} {escaped(mount.source)} {','.join(mount.super_options)}\n"
        for mount in mounts
    )
    assert parse(text) == mounts
