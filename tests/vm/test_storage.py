"""Storage that takes a kernel with all its privileges: xfs with project quotas, and growing an ext4 that is mounted."""

from __future__ import annotations

import pytest
from vm_agents import TASK_IMAGE, Agent


def test_the_data_root_is_xfs_with_project_quotas(host_agent: Agent) -> None:
    kind, options = host_agent.run("findmnt", "--noheadings", "--output", "FSTYPE,OPTIONS", "/var/lib/docker").split()
    assert kind == "xfs"
    assert "prjquota" in options.split(",")
    assert ["Backing Filesystem", "xfs"] in host_agent.info()["DriverStatus"]


def test_a_container_writes_no_more_than_its_size(host_agent: Agent) -> None:
    write = "exec 2>&1; dd if=/dev/zero of=/file bs=1M count=20; stat -c %s /file"
    said = host_agent.run("docker", "run", "--rm", "--storage-opt=size=10M", TASK_IMAGE, "sh", "-c", write)
    assert "No space left on device" in said
    assert 0 < int(said.split()[-1]) <= 10 * 2**20


def test_without_a_size_it_writes_more(host_agent: Agent) -> None:
    write = "dd if=/dev/zero of=/file bs=1M count=20 2>/dev/null && stat -c %s /file"
    assert int(host_agent.run("docker", "run", "--rm", TASK_IMAGE, "sh", "-c", write)) == 20 * 2**20


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_a_mounted_file_system_grows(host_agent: Agent, fstype: str) -> None:
    root = f"/var/lib/grown-{fstype}"

    def storage(arguments: str) -> str:
        where = f"data_root={root} image=/var/lib/{fstype}.img fstype={fstype} strategy=loop"
        ansible = ("/opt/mesos-dind/bin/ansible", "localhost", "-m", "mesos.dind.loop_storage", "-a")
        return host_agent.run("env", "LANG=C.UTF-8", *ansible, f"{where} {arguments}")

    def blocks() -> int:
        return int(host_agent.run("stat", "--file-system", "--format=%b", root))

    assert "CHANGED" in storage("size=400M")
    before = blocks()
    try:
        assert "CHANGED" in storage("size=800M")
        assert blocks() > 1.8 * before
        assert "SUCCESS" in storage("size=800M")
    finally:
        storage("state=absent purge=true")
