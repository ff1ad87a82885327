# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""dockerd's own record of its networks."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.plan import Disarm
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._host import dockerd_networks
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner


def store(tmp_path: Path, *addresses: str, bridge: str = "docker0") -> Path:
    """A piece of dockerd's database, between bytes of other kinds."""
    fields = {"BridgeIfaceCreator": 2, "BridgeName": bridge, "DefaultBridge": True, "InhibitIPv4": False, "Mtu": 1500}
    records = [json.dumps({"AddressIPv4": a, **fields}, separators=(",", ":")).encode() for a in addresses]
    path = tmp_path / dockerd_networks.STORE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x00\xff{\xed\xda\x0c\xed" + b"\x00{}\x07".join(records) + b"\x00{\xff}")
    return path


def test_the_record_names_the_engines_bridges(tmp_path: Path) -> None:
    assert dockerd_networks.bridges(tmp_path) == set()
    store(tmp_path, "172.17.0.9/16", "172.17.0.2/16", bridge="mybr")
    assert dockerd_networks.bridges(tmp_path) == {"mybr"}


def test_a_record_of_another_address_is_laid_to_rest_in_place(tmp_path: Path) -> None:
    path = store(tmp_path, "172.17.0.9/16", "172.17.0.2/16")
    before = path.read_bytes()
    assert dockerd_networks.addresses(tmp_path, "docker0") == ("172.17.0.9/16", "172.17.0.2/16")
    assert dockerd_networks.addresses(tmp_path, "docker1") == ()
    Disarm(tmp_path, "docker0", "172.17.0.2/16").do(Runner())
    after = path.read_bytes()
    assert dockerd_networks.addresses(tmp_path, "docker0") == ("172.17.0.2/16",)
    assert after == before.replace(b"false", b" true", 1)


def test_the_record_of_an_engine_with_remapped_users_is_found_too(tmp_path: Path) -> None:
    store(tmp_path, "172.17.0.2/16")
    path = store(tmp_path / "100000.100000", "172.17.0.9/16", bridge="mybr")
    (tmp_path / "overlay2").mkdir()
    assert dockerd_networks.bridges(tmp_path) == {"docker0", "mybr"}
    assert dockerd_networks.addresses(tmp_path, "mybr") == ("172.17.0.9/16",)
    dockerd_networks.disarm(tmp_path, "mybr", "172.17.0.2/16")
    assert dockerd_networks.RESTS in path.read_bytes()


def test_a_record_that_dockerd_holds_is_not_looked_at(tmp_path: Path) -> None:
    path = store(tmp_path, "172.17.0.9/16")
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert dockerd_networks.addresses(tmp_path, "docker0") == ()
    assert dockerd_networks.addresses(tmp_path, "docker0") == ("172.17.0.9/16",)


def test_a_record_that_dockerd_holds_is_laid_to_rest_as_soon_as_it_lets_go_of_it(tmp_path: Path) -> None:
    path = store(tmp_path, "172.17.0.9/16")
    before = path.read_bytes()
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with dockerd_networks.disarming(tmp_path, "docker0", "172.17.0.2/16"):
            with pytest.raises(DindError, match="is locked by a dockerd that runs"):
                dockerd_networks.disarm(tmp_path, "docker0", "172.17.0.2/16")
            assert path.read_bytes() == before
            fcntl.flock(held, fcntl.LOCK_UN)
    assert path.read_bytes() == before.replace(b"false", b" true")


def test_a_record_that_nobody_lets_go_of_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path, "172.17.0.9/16")
    monkeypatch.setattr(dockerd_networks, "DISARM_SECONDS", 0.1)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with (
            pytest.raises(DindError, match="stayed locked"),
            dockerd_networks.disarming(tmp_path, "docker0", "172.17.0.2/16"),
        ):
            pass


def test_without_a_record_of_dockerds_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert dockerd_networks.addresses(tmp_path, "docker0") == ()
    assert dockerd_networks.addresses(tmp_path / "nowhere", "docker0") == ()
