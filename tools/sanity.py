# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Run ``ansible-test sanity`` over the files that the collection ships.

    .venv/bin/python tools/sanity.py [OPTION...]     ansible-test gets the options, such as --test pylint

A checkout does not meet three conditions of ansible-test. This tool meets them, and leaves the checkout and the user's
home alone:

- ansible-test needs a real path ``ansible_collections/mesos/dind`` with no other repository's ``.git`` above. The tool
  copies the files that git tracks, or would track, to a temporary folder.
- ansible-test downloads a script that bootstraps pip, unless its cache has the script. The tool puts a script there
  that calls ensurepip.
- ansible-test clears the environment, and pip's settings with it. The tool writes the settings to a file in
  ansible-test's home.

The tool keeps that home, with the virtual environments of the single tests, under ``.cache``: a second run installs
nothing.
"""

from __future__ import annotations

import ast
import configparser
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".cache/sanity"

# The collection does not ship tests and tools; ruff and mypy check them.
SHIPPED = (
    "galaxy.yml",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "changelogs",
    "docs",
    "meta",
    "playbooks",
    "plugins",
    "roles",
)
ABOUT_SANITY = ("tests/config.yml", "tests/sanity")

BOOTSTRAP = """\
import subprocess
import sys

sys.exit(subprocess.call([sys.executable, "-m", "ensurepip"]))
"""


def main(options: list[str]) -> int:
    provide_pip_bootstrap()
    provide_pip_settings()
    with tempfile.TemporaryDirectory(prefix="mesos-dind-sanity-") as folder:
        collection = Path(folder) / "ansible_collections/mesos/dind"
        copy_collection(collection)
        tool = Path(sys.executable).parent / "ansible-test"
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        done = subprocess.run(
            [tool, "sanity", "--python", version, *options],
            cwd=collection,
            env={**os.environ, "HOME": str(HOME)},
            check=False,
        )
    return done.returncode


def copy_collection(collection: Path) -> None:
    """Copy the files that git tracks, or would track, from the working tree. Raises SystemExit without a plugin."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *SHIPPED, *ABOUT_SANITY],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    # Git also lists tracked files that the working tree no longer has.
    names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]
    if not any(name.startswith("plugins/") for name in names):
        # Without targets, ansible-test skips everything and succeeds.
        raise SystemExit(f"git lists no plugins in {ROOT}, so there is nothing to test: run this in a full checkout")
    for name in names:
        (collection / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, collection / name)


def provide_pip_bootstrap() -> None:
    """Put the bootstrap script into ansible-test's cache of downloads. Raises SystemExit without ansible-test."""
    spec = importlib.util.find_spec("ansible_test")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{sys.executable} has no ansible-test: run this by .venv/bin/python")
    source = Path(spec.submodule_search_locations[0]) / "_internal/python_requirements.py"
    wanted = re.search(r"pip='([0-9.]+)'", source.read_text())
    if wanted is None:
        raise SystemExit(f"{source} has no pip='VERSION': adapt the search to this ansible-core")
    script = HOME / f".ansible/test/cache/get_pip_{wanted[1].replace('.', '_')}.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(BOOTSTRAP)


def provide_pip_settings() -> None:
    """Write pip's settings, from files and from the environment, to pip's file in ansible-test's home."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], stdout=subprocess.PIPE, text=True, check=True
    )
    settings = configparser.RawConfigParser()
    settings.add_section("global")
    # A line is global.timeout='60', or :env:.timeout='60' from the environment, which comes last and wins.
    for line in sorted(listed.stdout.splitlines(), key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        section, _, key = name.replace(":env:", "global").partition(".")
        if not settings.has_section(section):
            settings.add_section(section)
        settings.set(section, key, ast.literal_eval(value))
    file = HOME / ".config/pip/pip.conf"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)  # an index's address may have a password in it
    with file.open("w") as stream:
        settings.write(stream)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
