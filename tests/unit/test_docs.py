"""Tests that README.md and docs/ have the code's names, defaults and messages."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmark import inside, measure

from ansible_collections.mesos.dind.plugins.module_utils import _argument_specs
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts import delegation
from ansible_collections.mesos.dind.plugins.module_utils._engine import drop_in, ipv6, user_settings
from ansible_collections.mesos.dind.plugins.module_utils._kernel import filesystem
from ansible_collections.mesos.dind.plugins.plugin_utils._boot import settings

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DEVELOPMENT = ROOT / "docs/development.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text()
# The beginning of a message: the role, or the step before all roles.
SPEAKERS = re.compile(r"^(agent|engine|network|preflight|storage)( warning)?: ")
# A message of ansible.builtin.get_url.
NOT_OURS = {"The checksum for … did not match …"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def tables(page: Path) -> Iterator[list[list[str]]]:
    """The tables of a page, each as a list of rows. The first row is the head; the line below the head is left out."""
    for block in re.findall(r"(?:^\|.*\n)+", page.read_text(), re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in block.splitlines()]
        yield [rows[0], *rows[2:]]


def table(page: Path, *head: str) -> list[list[str]]:
    """The rows of the only table whose head begins with these cells."""
    (found,) = (rows for rows in tables(page) if tuple(rows[0][: len(head)]) == head)
    return found[1:]


def code(page: Path) -> str:
    """All code of a page, in blocks and in the text."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`([^`]+)`", rest)])


def examples(page: Path) -> Iterator[Any]:
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        yield yaml.safe_load(block)


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert link.startswith("https://") or (page.parent / link).is_file(), link


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_anchors_lead_somewhere(page: Path) -> None:
    for link, anchor in re.findall(r"\]\(([^)#]*)#([^)]+)\)", page.read_text()):
        assert anchor in anchors(page.parent / link if link else page), anchor


def test_each_term_of_the_glossary_is_linked() -> None:
    links = re.compile(r"\]\((?:docs/)?(?:glossary\.md)?#([^)]+)\)")
    linked = {anchor for page in PAGES for anchor in links.findall(page.read_text())}
    assert anchors(ROOT / "docs/glossary.md") - {"glossary"} <= linked


def test_the_files_that_developers_are_led_to_are_there() -> None:
    path = re.compile(r"`((?:plugins|roles|playbooks|tools|tests|molecule|changelogs)/[^`]*)`")
    named = path.findall(DEVELOPMENT.read_text())
    assert named
    for name in named:
        assert list(ROOT.glob(name)), name


def test_each_question_of_where_has_its_file() -> None:
    answers = table(DEVELOPMENT, "question", "file")
    assert len(answers) == 18
    for _question, file in answers:
        assert (ROOT / file.strip("`")).is_file(), file


def test_every_page_is_linked() -> None:
    linked = {
        (page.parent / link).resolve() for page in PAGES for link in re.findall(r"\]\(([^)#]+)", page.read_text())
    }
    assert set(PAGES[1:]) <= linked


@each_page
def test_make_has_the_targets_that_are_named(page: Path) -> None:
    helped = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", code(page))) <= helped


def test_make_help_has_every_target() -> None:
    declared = set(re.findall(r"^\.PHONY: ([a-z-]+)$", MAKEFILE, re.MULTILINE))
    assert declared == set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))


def test_the_defaults_of_variables() -> None:
    parsers = {variable.name: variable for variable in settings.VARIABLES}
    told = {}
    for name, _meaning, default in table(README, "variable", "meaning", "default"):
        value = re.match(r"`([^`]+)`", default)
        if value and name.strip("`") in parsers:
            variable = parsers[name.strip("`")]
            told[variable.name] = variable.parse(value[1])
    # The code derives the size if none is given (test_size_is_24_unless_given).
    assert told.pop("DOCKER_NETWORK_SIZE") == 24
    assert told == {name: parsers[name].default for name in told}
    without = {variable.name for variable in settings.VARIABLES if variable.default in ("", None, [])}
    assert set(parsers) - set(told) == without


@pytest.mark.parametrize(
    "name", ["LOG", "MESOS_DIND_STORAGE", "MESOS_DIND_FILESYSTEM", "MESOS_DIND_GATEWAY", "MESOS_DIND_NETWORK_MODE"]
)
def test_all_that_a_variable_may_say_is_named(name: str) -> None:
    with pytest.raises(settings.SettingError) as refused:
        settings.read({name: "nonsense"}, ["true"])
    allowed = str(refused.value).partition("allowed is one of ")[2].split(", ")
    (row,) = (row for row in table(README, "variable", "meaning", "default") if row[0] == f"`{name}`")
    assert len(allowed) > 1
    assert {f"`{word}`" for word in allowed} <= set(re.findall(r"`\w+`", row[1]))


def test_the_defaults_of_a_machines_variables() -> None:
    defaults: dict[str, Any] = {}
    for path in ROOT.glob("roles/*/defaults/main.yml"):
        defaults |= yaml.safe_load(path.read_text()) or {}
    for names, _meaning, default in table(ROOT / "docs/machines.md", "variable", "meaning", "default"):
        value = re.fullmatch(r"`([^`]+)`", default)
        for name in re.findall(r"`(\w+)`", names):
            assert name in defaults or name == "mesos_dind_serial"
            if value and name in defaults:
                assert yaml.safe_load(value[1]) == defaults[name], name


def test_the_agents_defaults() -> None:
    templates = yaml.safe_load((ROOT / "roles/agent/vars/main.yml").read_text())
    given = re.findall(r"'([A-Z_]+)':", templates["agent_defaults"] + templates["agent_api_default"])
    told = [row[0].strip("`") for row in table(ROOT / "docs/boot.md", "variable", "value")]
    assert sorted(told) == sorted(given)


def test_what_the_boot_sets_itself() -> None:
    (file, where_file), (flags, where_flags), (beside, where_beside) = (
        (set(re.findall(r"`([a-z0-9-]+)`", names)), where)
        for names, where in table(ROOT / "docs/boot.md", "setting", "is refused")
    )
    assert file == set(user_settings.OWNED_KEYS)
    assert where_file == "in the file and as flags"
    owned = {flag for flag in user_settings.OWNED_FLAGS if flag.startswith("--")}
    assert flags == owned - {f"--{key}" for key in user_settings.OWNED_KEYS}
    assert where_flags == "as flags"
    assert beside == set(ipv6.KEYS)
    assert where_beside.startswith("beside `MESOS_DIND_IPV6_RANGE`, as flags")


def test_each_command_is_named() -> None:
    script = (ROOT / "roles/agent/files/mesos-dind").read_text()
    commands = re.findall(r"^(\w+)\)", script.partition("case ${1-} in")[2], re.MULTILINE)
    assert {"boot", "converge"} < set(commands)
    for command in commands:
        assert f"mesos-dind {command}" in code(README) + code(ROOT / "docs/boot.md"), command


@each_page
def test_examples_of_modules_have_arguments_that_there_are(page: Path) -> None:
    for example in examples(page):
        for task in example if isinstance(example, list) else ():
            for name in task:
                if name.startswith("mesos.dind."):
                    known = _argument_specs.ARGUMENT_SPECS[name.removeprefix("mesos.dind.")]
                    assert set(task[name]) <= set(known)


def test_the_versions_of_ansible_that_were_tried() -> None:
    tree = ast.parse((ROOT / "tests/container/test_ansible_versions.py").read_text())
    (tested,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "VERSIONS"
    )
    (row,) = (row for rows in tables(README) for row in rows if row[0] == "ansible-core")
    tried, _, own = row[1].partition("the image has ")
    without_python = re.sub(r"\(Python [^)]*\)", "", tried)
    assert re.findall(r"\d\.\d+", without_python) == [version.rpartition(".")[0] for version in tested]
    pinned = re.findall(r"^ansible-core==(\d+\.\d+)\.", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert re.findall(r"2\.\d+", own) == pinned


COUNT = {5: "five", 16: "sixteen"}


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("docs/boot.md", f"needs Docker {user_settings.IMAGE_STORE_SINCE} or later"),
        ("docs/cgroups.md", f"for {COUNT[int(delegation.TIMEOUT)]} seconds something entered"),
        ("docs/machines.md", f"After {drop_in.AWAIT_SECONDS} s it gives up"),
        ("docs/performance.md", f"median of {inside.PASSES}, and how many processes"),
        ("docs/performance.md", f"a file of {measure.DOWNLOAD >> 20} MiB in memory"),
        ("docs/performance.md", f"{COUNT[measure.DOWNLOADS]} times a run"),
        ("docs/performance.md", f"aimed at are {measure.AWAY_LIMIT:g} s"),
        ("docs/performance.md", f"29 ms | | | {measure.TASK_LIMIT:g} ms |"),
        ("docs/storage.md", f"at least {filesystem.Ext4.minimum >> 20}M and {filesystem.Xfs.minimum >> 20}M"),
    ],
)
def test_numbers(page: str, words: str) -> None:
    assert words in " ".join((ROOT / page).read_text().split())


# Stands for the varying parts of the code's texts.
VARIES = "\0"


@functools.cache
def texts() -> str:
    """All texts of the code: the strings of Python files, and other files as they are."""
    found = []
    for path in sorted(path for folder in ("plugins", "roles", "playbooks") for path in (ROOT / folder).rglob("*")):
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = (part.value if isinstance(part, ast.Constant) else VARIES for part in node.values)
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
        elif path.is_file() and path.suffix != ".pyc":
            varying = r"\$\(\(.*?\)\)|\$\w+|\{\{.*?\}\}"
            found.append(re.sub(varying, VARIES, " ".join(path.read_text().split())))
    return "\n".join(found)


WORD = r"'[^']*'|[\w./-]+"


def is_said(words: str, said: str) -> bool:
    """Whether the code has a message's words. A varying part may stand for up to half of them."""
    pattern = ""
    for token in re.findall(rf"{WORD}|\s+|[^\w\s]", words):
        itself = re.escape(token)
        # A varying part may stand for several words.
        pattern += rf"(?:{itself}|\w*{VARIES}|(?<={VARIES}))" if re.match(rf"{WORD}|\s", token) else itself
    matches = (match[0] for match in re.finditer(pattern, said))
    return any(2 * len(re.findall(WORD, match)) >= len(re.findall(WORD, words)) for match in matches)


def messages() -> Iterator[str]:
    for page in PAGES:
        for rows in tables(page):
            if rows[0][0].startswith("message"):
                for row in rows[1:]:
                    yield from re.findall(r"`([^`]+)`", row[0])


@pytest.mark.parametrize("message", sorted(set(messages()) - NOT_OURS))
def test_messages_are_said_as_they_are_documented(message: str) -> None:
    said = texts()
    for part in re.split(r"…|: |; ?", SPEAKERS.sub("", message)):
        words = part.strip(" ,;:.(=")
        assert is_said(words, said), words
