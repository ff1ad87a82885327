# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Properties of every plan, whatever the state."""

from __future__ import annotations

import dataclasses

from cgroup_mounts.recorded import NOWHERE, ROOT
from hypothesis import assume, given
from hypothesis import strategies as st

from ansible_collections.mesos.dind.plugins.module_utils import _plan
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.changes import (
    MountHierarchy,
)
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.journal import Make, TakeBack
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.plan import Desired, plan
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.state import Mounted, State, Unified
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel.cgroups import (
    Membership,
)

HIERARCHIES = (("cpu", "cpuacct"), ("memory",), ("devices",), ("cpuset",), ("misc",), ("name=systemd",), ("name=x",))

groups = st.sampled_from(["/", "/docker/x", "/../.."])


@st.composite
def v1_states(draw: st.DrawFn) -> State:
    hierarchies = tuple(
        Membership(number, names, draw(st.sampled_from(["/", "/docker/x"])))
        for number, names in enumerate(HIERARCHIES, 1)
        if names == ("devices",) or draw(st.booleans())
    )
    entries = {",".join(names).replace("name=", ""): names for names in HIERARCHIES}
    mounts = {
        entry: Mounted(names, draw(groups), (draw(st.sampled_from(["rw", "ro"])), "nosuid"), draw(st.booleans()))
        for entry, names in entries.items()
        if draw(st.booleans()) and names in {hierarchy.names for hierarchy in hierarchies}
    }
    is_shared = draw(st.booleans())
    has_directory = bool(mounts) or draw(st.booleans())
    return State(
        root=ROOT,
        version=draw(st.sampled_from(["v1", "hybrid"])),
        is_container=draw(st.booleans()),
        is_host_namespace=draw(st.booleans()),
        has_systemd=draw(st.booleans()),
        is_privileged=True,
        has_user_namespace=draw(st.booleans()),
        hierarchies=hierarchies,
        group="/",
        unified_options=(),
        root_fstype="tmpfs" if has_directory else "",
        root_options=(draw(st.sampled_from(["rw", "ro"])),) if has_directory else (),
        directories=tuple(mounts),
        mounts=mounts,
        links=draw(st.dictionaries(st.sampled_from(["cpu", "cpuacct"]), st.just("cpu,cpuacct"))) if mounts else {},
        unified=None,
        is_cpuset_seeded="cpuset" in mounts and draw(st.booleans()),
        is_shared=is_shared,
        unshared=() if is_shared else (("/", "slave"), ("/sys", "private")),
        securityfs=draw(st.sampled_from(["mounted", "unmounted", "refused", "absent"])),
        journal=(),
    )


@st.composite
def v2_states(draw: st.DrawFn) -> State:
    names = ("cpu", "io", "memory")
    delegated = draw(st.lists(st.sampled_from(names), unique=True))
    unified = Unified(
        group=draw(st.sampled_from(["/", "/docker/x"])),
        shown="/",
        kind=draw(st.sampled_from(["domain", ""])),
        controllers=names,
        delegated=tuple(delegated),
        has_processes=draw(st.booleans()),
        has_leaf=draw(st.booleans()),
    )
    is_mounted = draw(st.booleans())
    return dataclasses.replace(
        draw(v1_states()),
        version="v2",
        group=unified.group,
        root_fstype="cgroup2" if is_mounted else "",
        root_options=(draw(st.sampled_from(["rw", "ro"])),) if is_mounted else (),
        directories=(),
        mounts={},
        links={},
        unified=unified if is_mounted else None,
    )


@st.composite
def wishes(draw: st.DrawFn) -> Desired:
    return Desired(
        NOWHERE,
        named=draw(st.sampled_from([(), ("systemd",)])),
        delegate=draw(st.sampled_from(["auto", "always", "never"])),
        propagation=draw(st.sampled_from([None, True, False])),
    )


def possible_plan(desired: Desired, state: State) -> list[Make | TakeBack]:
    try:
        return plan(desired, state)
    except DindError as impossible:
        assume("can only be made in the host's cgroup namespace" not in str(impossible))
        raise


@given(wishes(), st.one_of(v1_states(), v2_states()))
def test_a_plan_reaches_its_goal(desired: Desired, state: State) -> None:
    after = _plan.expected(state, possible_plan(desired, state))
    assert plan(desired, after) == []


@given(wishes(), st.one_of(v1_states(), v2_states()))
def test_absent_takes_back_everything_last_first(desired: Desired, state: State) -> None:
    made = possible_plan(desired, state)
    after = _plan.expected(state, made)
    absent = dataclasses.replace(desired, present=False)
    back = plan(absent, after)
    assert [step.change for step in back] == [step.change for step in reversed(made)]
    gone = _plan.expected(after, back)
    assert gone.journal == ()
    assert plan(absent, gone) == []
    assert (gone.is_shared, gone.unshared, gone.root_options) == (state.is_shared, state.unshared, state.root_options)
    assert (gone.is_cpuset_seeded, gone.securityfs) == (state.is_cpuset_seeded, state.securityfs)


@given(wishes(), st.one_of(v1_states(), v2_states()))
def test_a_container_never_gets_to_see_the_hosts_groups(desired: Desired, state: State) -> None:
    paths = {hierarchy.names: hierarchy.path for hierarchy in state.hierarchies}
    for step in possible_plan(desired, state):
        if state.is_container and isinstance(step.change, MountHierarchy) and step.change.names in paths:
            assert step.change.group == paths[step.change.names]
