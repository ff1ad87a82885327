# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Situations in which a test finds the storage. Each answers the data root's files with their checksums."""

from __future__ import annotations

from collections.abc import Callable

from storage_fixtures import Container, Storage, fill, run, shut_down

from ansible_collections.mesos.dind.plugins.module_utils._plan import Outcome

Situation = Callable[[Storage, Container], dict[str, str]]


def nothing(storage: Storage, container: Container) -> dict[str, str]:
    """There is nothing yet."""
    return {}


def mounted(storage: Storage, container: Container) -> dict[str, str]:
    container.call(storage.converge)
    return container.call(fill, storage.data_root, "old")


def unmounted(storage: Storage, container: Container) -> dict[str, str]:
    data = mounted(storage, container)
    container.call(storage.but(state="absent").converge)
    return data


def dirty(storage: Storage, container: Container) -> dict[str, str]:
    data = mounted(storage, container)
    container.call(shut_down, storage.data_root)
    container.call(run, "umount", str(storage.data_root))
    return data


def without_device(outcome: Outcome) -> dict[str, object]:
    """The state afterwards, without the loop device: nobody can predict which one is free."""
    mount = outcome.after["mount"]
    return {**outcome.after, "mount": {**mount, "device": None} if mount else None}
