# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Our own rules in this network namespace, as `iptables-save` shows and `iptables-restore` changes them.

A rule is ours that has our comment; a chain is ours whose name begins with our prefix.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

COMMENT = ("-m", "comment", "--comment", "mesos.dind.bridged_net")
OWN_CHAINS = "MESOS-DIND-"
# Two transactions: in one, the nft backend does not even tell the kernel of a rule that is gone at its end.
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


@dataclass(frozen=True)
class Rule:
    """A rule of a table, in the words of `iptables`. Their order says nothing: `iptables-save` has one of its own."""

    table: str
    words: tuple[str, ...] = field(compare=False)
    meaning: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "meaning", frozenset(self.words))

    def __str__(self) -> str:
        return f"-t {self.table} {' '.join(self.words)}"

    @property
    def chain(self) -> str:
        return self.words[1]

    @property
    def is_in_own_chain(self) -> bool:
        return self.chain.startswith(OWN_CHAINS)


def is_installed(program: str = "iptables") -> bool:
    return shutil.which(f"{program}-save") is not None


def prove(runner: Runner) -> str:
    """Have the backend of `iptables` (nft or legacy) do what an engine will: which of them works is the kernel's say.

    Where the machine's own does not, the other is made its own, as kind does it (kubernetes-sigs/kind,
    images/base/files/usr/local/bin/entrypoint: select_iptables). Returns what was done; empty where nothing was. One
    fork where it works. Raises DindError that names both backends where neither does.
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
    """Rules of others, IPv4 and IPv6, that are about what comes in or goes out by ``device``; none of a program that is
    not there, or that the kernel has nothing for."""
    pattern = re.compile(rf" -[io] {re.escape(device)} ")
    found: list[str] = []
    for program, shown in (("iptables", ""), ("ip6tables", "ip6tables ")):
        saved = runner.run(f"{program}-save", ok=range(256)).stdout if is_installed(program) else ""
        lines = (line for line in saved.splitlines() if COMMENT[-1] not in line)
        found += [f"{shown}{line}" for line in lines if pattern.search(line)]
    return found


def parse(saved: str) -> Iterator[Rule]:
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith("-A ") and COMMENT[-1] in line:
            yield Rule(table, tuple(shlex.split(line)))


def change(runner: Runner, table: str, there: Sequence[Rule], wanted: Sequence[Rule]) -> None:
    """Make ``wanted`` of the rules that are ``there`` in ``table``, in one transaction. Raises DindError."""
    runner.run("iptables-restore", "--noflush", "--wait", stdin="\n".join(_transaction(table, there, wanted)) + "\n")


def put_first(runner: Runner, added: Sequence[Rule], removed: Sequence[Rule]) -> None:
    """In chains that are there, before all other rules. Raises DindError."""
    lines: list[str] = []
    for table in dict.fromkeys(rule.table for rule in (*added, *removed)):
        lines.append(f"*{table}")
        lines += [" ".join(("-I", *rule.words[1:])) for rule in reversed(added) if rule.table == table]
        lines += [" ".join(("-D", *rule.words[1:])) for rule in removed if rule.table == table]
        lines.append("COMMIT")
    if lines:
        runner.run("iptables-restore", "--noflush", "--wait", stdin="\n".join(lines) + "\n")


def _transaction(table: str, there: Sequence[Rule], wanted: Sequence[Rule]) -> Iterator[str]:
    before, after = _own_chains(there), _own_chains(wanted)
    yield f"*{table}"
    for chain in dict.fromkeys((*before, *after)):
        yield f":{chain} - [0:0]"  # made, or emptied
    for rule in there:
        if not rule.is_in_own_chain and rule not in wanted:
            yield " ".join(("-D", *rule.words[1:]))
    for rule in wanted:
        if rule.is_in_own_chain or rule not in there:
            yield " ".join(rule.words)
    for chain in before:
        if chain not in after:
            yield f"-X {chain}"
    yield "COMMIT"


def _own_chains(rules: Iterable[Rule]) -> list[str]:
    return list(dict.fromkeys(rule.chain for rule in rules if rule.is_in_own_chain))
