# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A home for storage, and a container that uses it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from storage_fixtures import (
    Container,
    Storage,
    is_detached,
    mounts_below,
)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    """A home for a data root and an image, of which no loop device and no mount is left in the end."""
    yield Storage(tmp_path)
    assert is_detached(tmp_path)
    assert mounts_below(tmp_path) == []


@pytest.fixture
def container(storage: Storage) -> Iterator[Container]:
    with Container() as container:
        yield container
