#!/usr/bin/python
# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Gives a container engine storage that it can work on."""

from __future__ import annotations

DOCUMENTATION = r"""
module: loop_storage
short_description: Gives a container engine storage that it can work on
version_added: 0.1.0
description:
  - Prepares the data root of a container engine that may itself run inside a container.
  - Uses the data root as it is where overlay works there. Elsewhere, as on a container's own overlay, makes an image
    file with a file system and mounts it on the data root through a loop device.
  - Keeps an existing mount or image. An image with a file system is never formatted again, only grown.
  - Refuses a data root or an image that another container uses.
  - The loop device detaches itself after its last use, also when the container is killed.
author:
  - The mesos.dind Authors (@mesos-dind)
options:
  data_root:
    description: The engine's data root. An absolute path.
    type: path
    default: /var/lib/docker
  image:
    description:
      - The image file, an absolute path. It may lie on a volume.
      - Used only with the strategy V(loop), whether given or chosen.
    type: path
    default: /var/lib/mesos-dind/docker.img
  size:
    description:
      - The image's size, at least 64M for ext4 and 300M for xfs. A bare number is in GB. The suffixes K, M, G and T are
        powers of 1024, as in V(500M) or V(20G).
      - A larger size makes the image and its file system grow. A mounted ext4 grows only if the process has
        C(CAP_SYS_RESOURCE). The module refuses a smaller size.
    type: str
    default: "5"
  fstype:
    description:
      - The file system of a new image. An existing image keeps its own.
      - V(xfs) is mounted with project quota, so that the engine can limit a container's size.
    type: str
    choices: [ext4, xfs]
    default: ext4
  strategy:
    description:
      - V(auto) keeps existing data and images. For new data, V(auto) chooses V(overlay) if a trial on the data root
        succeeds, otherwise V(aufs) if both kernel and engine have it, otherwise V(loop). It never chooses V(vfs).
      - V(overlay), V(aufs) and V(vfs) use the data root as it is. A separate process (C(sleep infinity)) holds a lock
        on it until the container ends or O(state=absent).
      - V(loop) uses an image.
    type: str
    choices: [auto, overlay, loop, aufs, vfs]
    default: auto
  hold:
    description:
      - Whether, without an image, a separate process holds a lock on the data root against a second container.
      - V(false) is for a machine whose service manager runs one engine only.
    type: bool
    default: true
  preallocate:
    description:
      - Whether a new image, and the part by which an image grows, gets its disk space at once. Otherwise the image is
        sparse, and the module warns if the disk is too small for all of it.
    type: bool
    default: false
  mount_options:
    description:
      - The image's mount options. An image that is mounted already keeps its own.
      - The default is C(discard), which returns freed space to the host, and none with O(preallocate=true).
        C(prjquota) is always added for xfs.
    type: list
    elements: str
  state:
    description:
      - V(absent) unmounts the image, which detaches its loop device, or releases the lock on the data root. Stop the
        engine first.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description: Whether O(state=absent) also removes the image with all its data.
    type: bool
    default: false
  force:
    description:
      - Whether to replace a file at O(image) that holds neither ext4 nor xfs. A file with either is never formatted.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description:
      - Predicts the changes exactly. For that, check mode also tries overlay on the data root for a moment.
  diff_mode:
    support: full
    description: Shows data root, image and mount before and after.
notes:
  - Needs Linux 5.8 or newer, the privilege to mount, and the programs C(mkfs.ext4), C(e2fsck) and C(resize2fs), or
    C(mkfs.xfs) and C(xfs_growfs), for images.
"""

EXAMPLES = r"""
- name: Let the module choose
  mesos.dind.loop_storage:
  register: storage

- name: Unmount the image and keep it
  mesos.dind.loop_storage:
    state: absent

- name: Make an image on a volume, whose containers can be limited in size
  mesos.dind.loop_storage:
    image: /volume/docker.img
    size: 20G
    fstype: xfs
    strategy: loop

- name: Remove that image with its data
  mesos.dind.loop_storage:
    image: /volume/docker.img
    state: absent
    purge: true
"""

RETURN = r"""
storage_driver:
  description:
    - The storage driver for the engine, that of existing data, otherwise V(overlay2), V(aufs) or V(vfs). For data of a
      containerd image store it is the snapshotter, V(overlayfs) or V(native), which needs the engine's feature
      C(containerd-snapshotter).
  returned: when O(state=present)
  type: str
  sample: overlay2
strategy:
  description: The strategy in use.
  returned: when O(state=present)
  type: str
  sample: loop
reason:
  description: The reason for the strategy, with the result of the trial, if any.
  returned: when O(state=present)
  type: str
  sample: there is an image already
device:
  description: The loop device; null without an image.
  returned: when O(state=present)
  type: str
  sample: /dev/loop0
image:
  description: The image file; null without an image.
  returned: when O(state=present)
  type: str
  sample: /var/lib/mesos-dind/docker.img
size:
  description: The image's size in bytes; null without an image.
  returned: when O(state=present)
  type: int
  sample: 5368709120
mountpoint:
  description: The data root, symbolic links resolved.
  returned: when O(state=present)
  type: str
  sample: /var/lib/docker
fstype:
  description: The file system of the image or, without one, of the data root.
  returned: when O(state=present)
  type: str
  sample: ext4
mount_options:
  description: The options that the image is mounted with, beside C(loop). Empty without an image.
  returned: when O(state=present)
  type: list
  elements: str
  sample: [discard]
persistent:
  description: Whether the image or the data root outlives the container, judged by its file system.
  returned: when O(state=present)
  type: bool
  sample: true
actions:
  description: The changes made or, in check mode, predicted, in order.
  returned: always
  type: list
  elements: str
  sample:
    - make the image /var/lib/mesos-dind/docker.img (5G, sparse, ext4)
    - mount the image /var/lib/mesos-dind/docker.img on /var/lib/docker
"""

from ansible_collections.mesos.dind.plugins.module_utils import _module
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage import core as loop_storage


def main() -> None:
    _module.run("loop_storage", loop_storage.core)


if __name__ == "__main__":
    main()
