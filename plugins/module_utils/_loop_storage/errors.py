# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The errors that several parts of loop_storage raise."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel.loop_device import PRIVILEGE


def image_in_use(image: Path) -> DindError:
    return DindError(
        f"the image {image} is in use by another container, or mounted elsewhere",
        cure="give each container an image of its own, or stop the other one",
    )


def data_root_in_use(data_root: Path) -> DindError:
    return DindError(
        f"the data root {data_root} is in use by another container",
        cure="give each container a volume of its own, or stop the other one",
    )


def not_privileged() -> DindError:
    return DindError("no privilege to mount (CAP_SYS_ADMIN)", cure=PRIVILEGE)
