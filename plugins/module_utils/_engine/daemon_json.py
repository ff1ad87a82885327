# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The generated daemon.json: the roles' results, merged with the user's own file and flags."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils._engine import user_settings

# The containerd image store's names for the engine's own drivers. With that store, dockerd starts with either name, but
# runs no container with the engine's name ("snapshotter not loaded", https://github.com/moby/moby/issues/46254).
SNAPSHOTTERS = {"overlay2": "overlayfs", "vfs": "native"}


def log_level(params: Mapping[str, Any]) -> str:
    return "debug" if params["debug"] else "warn"


def text(params: Mapping[str, Any], user_config: Mapping[str, Any], places: Mapping[str, str]) -> str:
    """The text of the file. ``places`` are further keys that the user may not set.

    Raises DindError if the user and a role set the same key to different values.
    """
    features = image_store_features(params["storage_driver"], user_config.get("features", {}))
    owned = _owned(params, features, places)
    user_settings.require_no_owned(user_config, params["user_config"], owned)
    given = set(user_settings.flag_names(params["args"]))
    defaults = {key: value for key, (value, *flags) in _defaults(params).items() if given.isdisjoint(flags)}
    ours = {key: value for key, value in {**owned, **defaults}.items() if value not in ("", None, [])}
    merged = {**ours, **user_config, **({"features": features} if features else {})}
    return json.dumps(merged, indent=2, sort_keys=True) + "\n"


def _owned(params: Mapping[str, Any], features: Mapping[str, bool], places: Mapping[str, str]) -> dict[str, Any]:
    """The keys that only the roles set. A key with an empty value stays unset."""
    driver = params["storage_driver"]
    if features.get(user_settings.IMAGE_STORE):
        driver = SNAPSHOTTERS.get(driver, driver)
    return {
        "data-root": params["data_root"],
        **places,
        "storage-driver": driver,
        "bip": params["bip"],
        "fixed-cidr": params["fixed_cidr"],
        "default-gateway": params["gateway"],
        "live-restore": True,
        **params["ipv6"],
    }


def _defaults(params: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The keys that the user may set, each with the roles' value and the user's flags that replace that value.

    dockerd refuses a setting both in the file and as a flag. A key with an empty value stays unset.
    """
    return {
        "log-level": (log_level(params), "--log-level", "-l", "--debug", "-D"),
        "debug": (True if params["debug"] else None, "--debug", "-D"),
        "default-address-pools": (params["address_pools"], "--default-address-pool"),
        "mtu": (params["mtu"], "--mtu"),
        "cgroup-parent": (params["cgroup_parent"], "--cgroup-parent"),
        "ip-masq": (None if params["masquerade"] else False, "--ip-masq"),
        "dns": (params["dns"], "--dns"),
        "dns-opts": (params["dns_options"], "--dns-opt"),
    }


def image_store_features(storage_driver: str, user_features: Mapping[str, bool]) -> dict[str, bool]:
    """The user's "features", and the image store if the data root's storage driver is a snapshotter."""
    found = {user_settings.IMAGE_STORE: True} if storage_driver in SNAPSHOTTERS.values() else {}
    return {**found, **user_features}
