# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A second run changes nothing, and check mode predicts the first one."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from storage_fixtures import (
    FSTYPES,
    MIB,
    Container,
    Storage,
    attached_to,
    mounts_below,
    names,
    run,
)
from storage_situations import without_device


@FSTYPES
def test_a_second_run_changes_nothing_and_starts_no_process(
    storage: Storage, container: Container, fstype: str
) -> None:
    storage = storage.but(fstype=fstype)
    predicted = container.call(storage.converge, check=True)
    assert container.call(mounts_below, storage.home) == []
    assert list(storage.home.iterdir()) == []
    first = container.call(storage.converge)
    assert first.actions == predicted.actions
    assert without_device(first) == without_device(predicted)
    assert first.facts["storage_driver"] == "overlay2"
    assert first.facts["fstype"] == fstype
    assert first.facts["size"] == storage.image.stat().st_size == 320 * MIB
    assert attached_to(storage.home) == [first.facts["device"].removeprefix("/dev/")]
    second, commands = container.call(storage.converge_counting)
    assert (second.actions, commands) == ([], [])
    assert second.before == second.after == first.after
    assert len(attached_to(storage.home)) == 1
    assert container.call(mounts_below, storage.home) == [str(storage.data_root)]


def ansible(storage: Storage, *options: str) -> dict[str, Any]:
    """The module's answer to an ad-hoc call in the container."""
    os.environ.update(
        ANSIBLE_COLLECTIONS_PATH=str(Path(__file__).parents[3] / ".cache/collections"),
        ANSIBLE_LOCALHOST_WARNING="false",
        ANSIBLE_INVENTORY_UNPARSED_WARNING="false",
    )
    given = ("data_root", "image", "size", "fstype", "strategy")
    arguments = " ".join(f"{name}={storage.full_params[name]}" for name in given)
    argv = (sys.executable, "-m", "ansible", "adhoc", "localhost", "-m", "mesos.dind.loop_storage", "-a", arguments)
    said = run(*argv, *options)
    return json.loads(said[said.index("=> {") + 3 :])  # type: ignore[no-any-return]


def test_the_module_itself(storage: Storage, container: Container) -> None:
    predicted = container.call(ansible, storage, "--check")
    assert names(storage.home) == []
    done = container.call(ansible, storage)
    again = container.call(ansible, storage)
    assert predicted["changed"]
    assert done["changed"]
    assert done["actions"] == predicted["actions"]
    assert done["storage_driver"] == "overlay2"
    assert (again["changed"], again["actions"]) == (False, [])
    assert again["device"] == done["device"]
