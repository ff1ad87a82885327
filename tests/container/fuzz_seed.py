"""The seed of the fuzzing lane (`make fuzz SEED=… CASES=…`)."""

from __future__ import annotations

import os
import random

SEED = os.environ.get("MESOS_DIND_FUZZ_SEED") or str(random.SystemRandom().randrange(10**6))
CASES = int(os.environ.get("MESOS_DIND_FUZZ_CASES") or 60)


def names(cases: int) -> list[str]:
    """The names of so many cases. A name has the seed in it, and is all that `generator` needs."""
    return [f"{SEED}-{number}" for number in range(cases)]


def generator(case: str) -> random.Random:
    return random.Random(case)  # noqa: S311 - tests, not secrets
