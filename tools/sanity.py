# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Run ``ansible-test sanity`` over what the collection ships.

    .venv/bin/python tools/sanity.py [OPTION...]     further options go to ansible-test, such as --test pylint

ansible-test comes with three conditions that a checkout does not meet, and each is met here without touching the
checkout or the user's home:

- It wants a real path ``ansible_collections/mesos/dind`` with no other repository's ``.git`` above it: a copy in a
  temporary folder, made of the files that git tracks or would track.
- It bootstraps pip by a script that it downloads from a host of its own, unless it finds the script in its cache: one
  that calls ensurepip is put there.
- It clears the environment, and pip's settings with it: they are written to a file in the home that it is given.

That home, with the virtual environments of the single tests, is kept under ``.cache``: a second run installs nothing.
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

# Tests and tools are not shipped; ruff and mypy see to them.
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
    """Copy what git tracks, or would track, as it is in the working tree. Raises SystemExit where no plugin is."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *SHIPPED, *ABOUT_SANITY],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    # A file may be tracked and deleted.
    names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]
    if not any(name.startswith("plugins/") for name in names):
        # ansible-test would skip all its targets, and call that a success.
        raise SystemExit(f"git lists no plugins in {ROOT}: there would be nothing to test")
    for name in names:
        (collection / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, collection / name)


def provide_pip_bootstrap() -> None:
    """Put the bootstrap script where ansible-test looks for the one that it has downloaded before."""
    spec = importlib.util.find_spec("ansible_test")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{sys.executable} has no ansible-test; run this by the Python of the environment that has it")
    source = Path(spec.submodule_search_locations[0]) / "_internal/python_requirements.py"
    wanted = re.search(r"pip='([0-9.]+)'", source.read_text())
    if wanted is None:
        raise SystemExit(f"{source} no longer says which pip it wants")
    script = HOME / f".ansible/test/cache/get_pip_{wanted[1].replace('.', '_')}.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(BOOTSTRAP)


def provide_pip_settings() -> None:
    """Write pip's settings, from files and from the environment, to a file of the home that ansible-test is given."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], stdout=subprocess.PIPE, text=True, check=True
    )
    settings = configparser.RawConfigParser()
    settings.add_section("global")
    # One a line, as in global.timeout='60'; what comes from the environment, as :env:.timeout='60', has precedence.
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
