# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Our own rules in this network namespace, read by `iptables-save` and changed by `iptables-restore`.

Our rules have our comment; our chains have names that begin with our prefix.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

COMMENT = ("-m", "comment", "--comment", "mesos.dind.bridged_net")
OWN_CHAINS = "MESOS-DIND-"
# Two transactions: of a rule added and removed in the same one, the nft backend tells the kernel nothing.
PROOF = f"""\
*nat
:{OWN_CHAINS}PROOF - [0:0]
-A {OWN_CHAINS}PROOF -j MASQUERADE
COMMIT
*nat
-F {OWN_CHAINS}PROOF
-X {OWN_CHAINS}PROOF
COMMIT
"""


class Purpose(Enum):
    """Why we have a rule."""

    REDIRECT = "redirect inner containers' DNS queries to the outer resolver"
    GUARD = "drop outside traffic for the loopback"
    FORWARD = "accept forwarded traffic that the engine would drop"


@dataclass(frozen=True)
class Rule:
    """A rule of a table, in the words of `iptables`: `-A` appends the rule to its chain, `-I` puts it first.

    Comparisons ignore that and the order of the words: `iptables-save` has its own.
    """

    table: str
    words: tuple[str, ...] = field(compare=False)
    purpose: Purpose
    meaning: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "meaning", frozenset(self.words[1:]))

    def __str__(self) -> str:
        return f"-t {self.table} {' '.join(('-A', *self.words[1:]))}"

    @property
    def chain(self) -> str:
        return self.words[1]

    @property
    def is_first(self) -> bool:
        return self.words[0] == "-I"

    @property
    def is_in_own_chain(self) -> bool:
        return self.chain.startswith(OWN_CHAINS)


def is_installed(program: str = "iptables") -> bool:
    return shutil.which(f"{program}-save") is not None


def prove(runner: Runner) -> str:
    """Prove NAT with the backend of `iptables` (nft or legacy): the kernel decides which of them works.

    If the default backend fails, make the other the default, as kind does (kubernetes-sigs/kind,
    images/base/files/usr/local/bin/entrypoint: select_iptables). Returns what was done, empty if nothing was; one fork
    in that case. Raises DindError that names both backends if neither works.
    """
    refusal = _refusal(runner, "iptables-restore")
    if not refusal:
        return ""
    is_legacy = "legacy" in Path(shutil.which("iptables-restore") or "").resolve().name
    used, other = ("legacy", "nft") if is_legacy else ("nft", "legacy")
    is_there = shutil.which(f"iptables-{other}-restore")
    others_refusal = _refusal(runner, f"iptables-{other}-restore") if is_there else "it is not installed"
    if others_refusal:
        raise DindError(
            f"NAT works with neither backend of iptables: with iptables-{used}: {refusal}; "
            f"with iptables-{other}: {others_refusal}",
            cure="load the kernel's modules for one of them: nf_tables, nft_compat and nft_chain_nat, or iptable_nat",
        )
    for name in ("iptables", "ip6tables"):
        if path := shutil.which(f"{name}-{other}"):
            runner.run("update-alternatives", "--set", name, path)
    return f"use iptables-{other}, since NAT does not work with iptables-{used} ({refusal})"


def _refusal(runner: Runner, program: str) -> str:
    done = runner.run(program, "--noflush", "--wait", stdin=PROOF, ok=range(256))
    return " ".join(done.stderr.split()) or f"status {done.status}" if done.status else ""


def read(runner: Runner) -> tuple[Rule, ...]:
    """Our rules, in their order; one fork."""
    return tuple(parse(runner.run("iptables-save").stdout))


def naming(device: str, runner: Runner) -> list[str]:
    """Rules of others, IPv4 and IPv6, that match traffic by the incoming or outgoing ``device``.

    A missing program counts as one without rules, and so does a program that the kernel has no tables for.
    """
    pattern = re.compile(rf" -[io] {re.escape(device)} ")
    found: list[str] = []
    for program, shown in (("iptables", ""), ("ip6tables", "ip6tables ")):
        saved = runner.run(f"{program}-save", ok=range(256)).stdout if is_installed(program) else ""
        lines = (line for line in saved.splitlines() if COMMENT[-1] not in line)
        found += [f"{shown}{line}" for line in lines if pattern.search(line)]
    return found


def parse(saved: str) -> Iterator[Rule]:
    """Our rules in the output of `iptables-save`."""
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith("-A ") and COMMENT[-1] in line:
            words = tuple(shlex.split(line))
            yield Rule(table, words, _purpose(table, words[words.index("-j") + 1]))


def _purpose(table: str, target: str) -> Purpose:
    """Rules of all releases have the same comment; their table and target differ."""
    if table == "nat":
        return Purpose.REDIRECT
    return Purpose.GUARD if target == "DROP" else Purpose.FORWARD


def change(runner: Runner, there: Sequence[Rule], wanted: Sequence[Rule]) -> None:
    """Replace the rules that are ``there`` with ``wanted``, in one transaction a table. Raises DindError."""
    lines = [
        line
        for table in dict.fromkeys(rule.table for rule in (*there, *wanted))
        for line in _transaction(
            table, [rule for rule in there if rule.table == table], [rule for rule in wanted if rule.table == table]
        )
    ]
    if lines:
        runner.run("iptables-restore", "--noflush", "--wait", stdin="\n".join(lines) + "\n")


def _transaction(table: str, there: Sequence[Rule], wanted: Sequence[Rule]) -> Iterator[str]:
    before, after = _own_chains(there), _own_chains(wanted)
    yield f"*{table}"
    yield from (f":{chain} - [0:0]" for chain in {**before, **after})  # made, or emptied
    for rule in there:
        if not rule.is_in_own_chain and rule not in wanted:
            yield " ".join(("-D", *rule.words[1:]))
    yield from _added([rule for rule in wanted if rule.is_in_own_chain or rule not in there])
    yield from (f"-X {chain}" for chain in before if chain not in after)
    yield "COMMIT"


def _added(rules: Sequence[Rule]) -> Iterator[str]:
    """The lines that add the rules. Among rules that are put first, the last line wins."""
    yield from (" ".join(rule.words) for rule in reversed(rules) if rule.is_first)
    yield from (" ".join(rule.words) for rule in rules if not rule.is_first)


def _own_chains(rules: Iterable[Rule]) -> dict[str, None]:
    return dict.fromkeys(rule.chain for rule in rules if rule.is_in_own_chain)
