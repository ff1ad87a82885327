# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The generated daemon.json: the roles' results over the user's own file and beside the user's flags."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils._engine import user_settings

# The containerd image store's names for what the engine's own drivers do. With that store dockerd starts with either
# name, but with its own it can run nothing ("snapshotter not loaded", https://github.com/moby/moby/issues/46254).
SNAPSHOTTERS = {"overlay2": "overlayfs", "vfs": "native"}

# What a user's flags may say instead of the roles. dockerd refuses to be told the same thing in both places.
YIELDING = {
    "log-level": ("--log-level", "-l", "--debug", "-D"),
    "debug": ("--debug", "-D"),
    "default-address-pools": ("--default-address-pool",),
    "mtu": ("--mtu",),
    "cgroup-parent": ("--cgroup-parent",),
    "ip-masq": ("--ip-masq",),
    "dns": ("--dns",),
    "dns-opts": ("--dns-opt",),
}


def log_level(params: Mapping[str, Any]) -> str:
    return "debug" if params["debug"] else "warn"


def text(params: Mapping[str, Any], user_config: Mapping[str, Any], places: Mapping[str, str]) -> str:
    """The file. ``places`` are further keys that are not the user's.

    Raises DindError where both set the same key differently.
    """
    given = set(user_settings.flag_names(params["args"]))
    features = image_store_features(params["storage_driver"], user_config.get("features", {}))
    driver = params["storage_driver"]
    if features.get(user_settings.IMAGE_STORE):
        driver = SNAPSHOTTERS.get(driver, driver)
    owned = {
        "data-root": params["data_root"],
        **places,
        "storage-driver": driver,
        "bip": params["bip"],
        "fixed-cidr": params["fixed_cidr"],
        "default-gateway": params["gateway"],
        "live-restore": True,
        **params["ipv6"],
    }
    config = {key: value for key, value in owned.items() if value not in ("", None)}
    user_settings.require_no_owned(user_config, params["user_config"], owned)
    defaults = {
        "log-level": log_level(params),
        "debug": params["debug"] or None,
        "default-address-pools": params["address_pools"] or None,
        "mtu": params["mtu"],
        "cgroup-parent": params["cgroup_parent"] or None,
        "ip-masq": None if params["masquerade"] else False,
        "dns": params["dns"] or None,
        "dns-opts": params["dns_options"] or None,
    }
    wanted = {key: value for key, value in defaults.items() if value is not None and not given & set(YIELDING[key])}
    merged = {**config, **wanted, **user_config, **({"features": features} if features else {})}
    return json.dumps(merged, indent=2, sort_keys=True) + "\n"


def image_store_features(storage_driver: str, user_features: Mapping[str, bool]) -> dict[str, bool]:
    """The user's own "features"; data of a snapshotter, found in the data root, is only of use with its image store."""
    found = {user_settings.IMAGE_STORE: True} if storage_driver in SNAPSHOTTERS.values() else {}
    return {**found, **user_features}
