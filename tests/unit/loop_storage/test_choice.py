# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The choice of a strategy."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from loop_storage.states import DATA_ROOTS, EMPTY, IMAGED, IMAGES, MIB, ROOT

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.choice import (
    DRIVERS,
    Choice,
    Trials,
    choose,
    driver,
)
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.data_root_steps import ROOT_MODE
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.state import (
    DataRoot,
    Image,
    Mount,
    State,
)


@dataclass
class Told(Trials):
    """Trials whose results are given; ``tried`` collects which were asked for."""

    results: dict[str, str | None]
    tried: list[str] = field(default_factory=list)

    def _try(self, name: str) -> str | None:
        self.tried.append(name)
        return self.results.get(name)

    def overlay(self) -> str | None:
        return self._try("overlay")

    def aufs(self) -> str | None:
        return self._try("aufs")

    def engine(self) -> str | None:
        return self._try("engine")

    def loop(self) -> None:
        if flaw := self._try("loop"):
            raise DindError(flaw)


@pytest.mark.parametrize(
    ("strategy", "state", "results", "chosen", "tried"),
    [
        ("auto", State(EMPTY), {}, "overlay", ["overlay"]),
        ("auto", State(EMPTY), {"overlay": "no"}, "loop", ["overlay", "loop"]),
        ("auto", State(EMPTY, has_aufs=True), {"overlay": "no"}, "aufs", ["overlay", "engine", "aufs"]),
        ("auto", State(EMPTY, has_aufs=True), {"overlay": "no", "engine": "26"}, "loop", ["overlay", "engine", "loop"]),
        ("auto", State(EMPTY, IMAGED), {}, "loop", ["loop"]),
        ("auto", State(EMPTY, IMAGED, mount=Mount("/dev/loop3", MIB)), {}, "loop", []),
        ("loop", State(EMPTY, IMAGED, mount=Mount("/dev/loop3", MIB)), {}, "loop", []),
        ("auto", State(DataRoot(ROOT_MODE, ("overlay2",))), {}, "overlay", ["overlay"]),
        ("auto", State(DataRoot(ROOT_MODE, ("overlay2",), "us")), {}, "overlay", []),
        ("auto", State(DataRoot(ROOT_MODE, ("overlayfs",), "us")), {}, "overlay", []),
        ("auto", State(DataRoot(ROOT_MODE, ("vfs",))), {}, "vfs", []),
        ("auto", State(DataRoot(ROOT_MODE, ("aufs",)), has_aufs=True), {}, "aufs", ["engine", "aufs"]),
        ("overlay", State(EMPTY, IMAGED), {}, "overlay", ["overlay"]),
        ("vfs", State(EMPTY, may_mount=False), {}, "vfs", []),
        ("loop", State(DataRoot(ROOT_MODE, ("overlay2",)), IMAGED), {}, "loop", ["loop"]),
    ],
)
def test_choices(strategy: str, state: State, results: dict[str, str | None], chosen: str, tried: list[str]) -> None:
    trials = Told(results)
    choice = choose(strategy, state, ROOT, trials)
    assert (choice.strategy, trials.tried) == (chosen, tried)
    assert choice.reason


@pytest.mark.parametrize(
    ("strategy", "state", "results", "refusal"),
    [
        ("overlay", State(EMPTY), {"overlay": "no d_type"}, "overlay does not work on .*: no d_type; put a volume"),
        (
            "aufs",
            State(EMPTY),
            {"engine": "not in 26"},
            "AUFS does not work on .*: the kernel has no AUFS and not in 26;",
        ),
        ("aufs", State(EMPTY), {}, "the kernel has no AUFS;"),
        ("aufs", State(EMPTY, has_aufs=True), {"engine": "not in 26"}, ": not in 26;"),
        (
            "vfs",
            State(EMPTY, IMAGED, mount=Mount("/dev/loop3", MIB)),
            {},
            "is mounted from an image; ask for state abs",
        ),
        ("auto", State(DataRoot(ROOT_MODE, ("overlay2",)), IMAGED), {}, "there is an image, and .*; choose one by"),
        ("auto", State(DataRoot(ROOT_MODE, ("overlay2",))), {"overlay": "no"}, "overlay does not work"),
        ("auto", State(DataRoot(ROOT_MODE, ("btrfs",))), {}, "holds data of the storage driver btrfs, which is not"),
        ("vfs", State(DataRoot(ROOT_MODE, ("overlay2",))), {}, "holds data of overlay2; leave the strategy at auto"),
        ("loop", State(DataRoot(ROOT_MODE, ("overlay2",))), {}, "holds data of overlay2; leave the strategy at auto"),
        ("auto", State(DataRoot(ROOT_MODE, held_by="another")), {}, "data root .* in use by another container; give"),
        ("auto", State(EMPTY, may_mount=False), {}, "no privilege to mount .*; run the container with --privileged"),
        ("auto", State(EMPTY), {"overlay": "no", "loop": "no loop"}, "no loop"),
    ],
)
def test_choices_that_are_refused(strategy: str, state: State, results: dict[str, str | None], refusal: str) -> None:
    with pytest.raises(DindError, match=refusal):
        choose(strategy, state, ROOT, Told(results))


@given(
    DATA_ROOTS,
    st.none() | IMAGES,
    st.dictionaries(st.sampled_from(["overlay", "aufs", "engine"]), st.just("no")),
    st.booleans(),
)
def test_vfs_is_never_chosen_unasked(
    data_root: DataRoot, image: Image | None, results: dict[str, str | None], has_aufs: bool
) -> None:
    try:
        choice = choose("auto", State(data_root, image, has_aufs=has_aufs), ROOT, Told(results))
    except DindError:
        assume(False)
    assert choice.strategy != "vfs" or {"vfs", "native"} & {*data_root.drivers}
    assert isinstance(choice, Choice)


@pytest.mark.parametrize("strategy", list(DRIVERS))
def test_the_driver_is_the_data_s_or_the_strategy_s_own(strategy: str) -> None:
    own = DRIVERS[strategy][0]
    assert driver(strategy, EMPTY) == own
    assert {driver(strategy, DataRoot(ROOT_MODE, (found,))) for found in DRIVERS[strategy]} == {*DRIVERS[strategy]}
    assert driver(strategy, DataRoot(ROOT_MODE, ("btrfs",))) == own
