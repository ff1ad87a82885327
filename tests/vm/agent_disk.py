"""The agent image as a disk, because a VM without acceleration takes minutes to load it.

``squashfs`` holds the image's files. The VM's engine gets an image of the same configuration with one empty layer. The
disk is mounted at overlay2's folder of that layer.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import Engine, Machine
from system_disk import CACHE


@dataclass(frozen=True)
class AgentDisk:
    name: str
    image: Path
    configuration: dict[str, Any]


def provide(name: str, cache: Path = CACHE) -> AgentDisk:
    """The disk of an image of this machine's engine. Makes it if it does not exist, and removes older ones."""
    found = json.loads(subprocess.run(["docker", "image", "inspect", name], stdout=subprocess.PIPE, check=True).stdout)
    disk = AgentDisk(name, cache / f"agent-{found[0]['Id'].partition(':')[2][:16]}.squashfs", found[0])
    if not disk.image.exists():
        cache.mkdir(parents=True, exist_ok=True)
        for outdated in cache.glob("agent-*"):
            outdated.unlink()
        export(name, disk.image)
    return disk


def export(name: str, image: Path) -> None:
    made = image.with_suffix(".making")
    container = subprocess.run(["docker", "create", name], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    try:
        with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as exported:
            # Not compressed: the VM's processor is the slow part.
            flags = ["-quiet", "-no-progress", "-noI", "-noId", "-noD", "-noF", "-noX"]
            subprocess.run(["sqfstar", *flags, str(made)], stdin=exported.stdout, check=True)
        if exported.returncode:
            raise subprocess.CalledProcessError(exported.returncode, ["docker", "export", name])
    finally:
        subprocess.run(["docker", "rm", "--force", container], stdout=subprocess.DEVNULL, check=True)
    made.rename(image)


def install(disk: AgentDisk, machine: Machine, engine: Engine, device: str) -> None:
    """Load the image into the machine's engine."""
    with tempfile.TemporaryFile() as content:
        content.write(archive(disk))
        content.seek(0)
        assert disk.name in engine.run("load", "--quiet", stdin=content)
    layer = engine.run("image", "inspect", "--format={{.GraphDriver.Data.UpperDir}}", disk.name).strip()
    machine.run("mount", "-o", "ro", device, layer)


def archive(disk: AgentDisk) -> bytes:
    """An image of one empty layer, as an archive for ``docker load``."""
    layer = tar({})
    configuration = json.dumps(
        {
            "architecture": disk.configuration["Architecture"],
            "os": disk.configuration["Os"],
            "config": disk.configuration["Config"],
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [disk.name], "Layers": ["layer.tar"]}]).encode()
    return tar({"manifest.json": manifest, "config.json": configuration, "layer.tar": layer})


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
