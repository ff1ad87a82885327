# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Hold the project's English to a few rules: sentences name their subject first, and pages have short sentences."""

from __future__ import annotations

import ast
import io
import itertools
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FORBIDDEN = re.compile(r"[\"'(*]*(?:what|those|of|neither|so is|where\b[^.,;:]*\bit is)\b", re.IGNORECASE)
SENTENCE_END = re.compile(r"(?<=[.!?:])[)\"'*]*\s+(?=[\"'(*`]*[A-Z])")
# In words; code in backquotes counts as one.
LONGEST_SENTENCE = 35
LONGEST_AVERAGE = 18


def tracked(*patterns: str) -> list[str]:
    """The repository's files that match a pattern of ``git ls-files``."""
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return listed.stdout.split()


def sentences(text: str) -> list[str]:
    return SENTENCE_END.split(" ".join(text.split()))


def forbidden(texts: Iterator[str]) -> list[str]:
    return [sentence for text in texts for sentence in sentences(text) if FORBIDDEN.match(sentence)]


def docstrings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (ast.get_docstring(node) or "").split("\n\n")


def python_comments(source: str) -> Iterator[str]:
    tokens = [
        token for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type == tokenize.COMMENT
    ]
    yield from blocks((token.start[0], token.start[1], token.string) for token in tokens)


def line_comments(source: str) -> Iterator[str]:
    """The comments of YAML, shell and Dockerfiles that have a line of their own."""
    yield from blocks(
        (number, len(line) - len(line.lstrip()), line.strip())
        for number, line in enumerate(source.splitlines())
        if line.lstrip().startswith("#")
    )


def blocks(comments: Iterator[tuple[int, int, str]]) -> Iterator[str]:
    """Comments of adjacent lines with the same indentation as one text."""
    for _, block in itertools.groupby(enumerate(comments), key=lambda each: (each[1][0] - each[0], each[1][1])):
        yield " ".join(comment.lstrip("#! ") for _, (_, _, comment) in block)


def documentation(source: str) -> Iterator[str]:
    """The texts of a plugin's DOCUMENTATION and RETURN."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("DOCUMENTATION", "RETURN"):
            yield from described(yaml.safe_load(ast.literal_eval(node.value)))


def described(document: Any) -> Iterator[str]:
    """The descriptions anywhere in a document of Ansible."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key in ("description", "short_description") and not isinstance(value, dict):
                yield from value if isinstance(value, list) else [value]
            else:
                yield from described(value)
    elif isinstance(document, list):
        for each in document:
            yield from described(each)


def names(document: Any) -> Iterator[str]:
    """The names of plays, tasks, blocks and handlers."""
    for each in document if isinstance(document, list) else ():
        yield each.get("name", "")
        for key in ("tasks", "handlers", "block", "rescue", "always"):
            yield from names(each.get(key))


def prose(page: str) -> Iterator[str]:
    """The paragraphs and list items of a Markdown page, without code, tables and headings."""
    text = re.sub(r"^```.*?^```$", "\n", page, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(?:\||#|!?\[|<).*$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]*`", "`code`", text)
    yield from filter(str.strip, re.split(r"\n\s*\n|\n\s*(?:[-*]|\d+\.) +", f"\n{text}"))


@pytest.mark.parametrize("name", tracked("*.py"))
def test_docstrings_comments_and_documentation(name: str) -> None:
    source = (ROOT / name).read_text()
    assert forbidden(itertools.chain(docstrings(source), python_comments(source), documentation(source))) == []


@pytest.mark.parametrize("name", tracked("*.yml", "*.yaml"))
def test_names_descriptions_and_comments_of_yaml(name: str) -> None:
    source = (ROOT / name).read_text()
    document = yaml.safe_load(source)
    assert forbidden(itertools.chain(names(document), described(document), line_comments(source))) == []


@pytest.mark.parametrize("name", tracked("changelogs/fragments"))
def test_changelog(name: str) -> None:
    fragment = yaml.safe_load((ROOT / name).read_text())
    assert forbidden(text.partition(" - ")[2] or text for texts in fragment.values() for text in texts) == []


@pytest.mark.parametrize(
    "name", tracked("roles/*/files", "roles/*/templates", "Dockerfile", "*/Dockerfile", "tests/standin")
)
def test_comments_of_shell_and_configuration(name: str) -> None:
    assert forbidden(line_comments((ROOT / name).read_text())) == []


@pytest.mark.parametrize("name", tracked("*.md"))
def test_sentences_of_pages(name: str) -> None:
    found = [sentence for text in prose((ROOT / name).read_text()) for sentence in sentences(text)]
    assert forbidden(iter(found)) == []
    lengths = [len(sentence.split()) for sentence in found]
    assert [sentence for sentence, length in zip(found, lengths, strict=True) if length > LONGEST_SENTENCE] == []
    assert sum(lengths) <= LONGEST_AVERAGE * len(lengths), f"{sum(lengths) / len(lengths):.1f} words a sentence"


def test_the_openings_that_are_forbidden() -> None:
    bad = ["What is left", "what the user set", "Those by which", "Where no engine is, it is", "Where it is not given"]
    assert [text for text in bad if not FORBIDDEN.match(text)] == ["Where no engine is, it is"]
    good = ["Whatever its version", "Official packages", "Where to begin", "Offsets", "So that nothing is left"]
    assert [text for text in good if FORBIDDEN.match(text)] == []
