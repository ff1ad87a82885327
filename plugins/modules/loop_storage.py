#!/usr/bin/python
# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Documentation and argument spec; the work is done in module_utils/_loop_storage.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: loop_storage
short_description: Gives a container engine storage that it can work on
version_added: 0.1.0
description:
  - Prepares the data root of a container engine that may itself run inside a container.
  - Where overlay works on the data root, that is used as it is. Elsewhere, as on a container's own overlay, an image
    file with a file system is made and mounted on the data root through a loop device.
  - What is mounted or imaged already is recognised and kept. An image that has a file system is never formatted again,
    only grown. Two containers never get one data root or image; the second is refused.
  - The loop device detaches itself when nothing uses it any more, also when the container is killed.
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
      - Only used where O(strategy) is, or comes out as, V(loop).
    type: path
    default: /var/lib/mesos-dind/docker.img
  size:
    description:
      - The image's size. A number is in GB; the suffixes K, M, G and T are accepted, as in V(500M) or V(20G), all in
        powers of 1024. At least 64M for ext4 and 300M for xfs.
      - More than the image has makes it and its file system grow. A mounted ext4 grows only where the process has
        C(CAP_SYS_RESOURCE). Less is refused.
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
      - V(auto) keeps what is there; where nothing is, it takes V(overlay) if that really works on the data root,
        otherwise V(aufs) if kernel and engine both have it, otherwise V(loop). It never takes V(vfs).
      - V(overlay), V(aufs) and V(vfs) use the data root as it is, with a lock that a process of its own
        (C(sleep infinity)) holds until the container ends or O(state=absent).
      - V(loop) uses an image.
    type: str
    choices: [auto, overlay, loop, aufs, vfs]
    default: auto
  hold:
    description:
      - Whether, without an image, a process of its own holds a lock on the data root, so that no second container
        uses it.
      - V(false) is for a machine whose service manager runs one engine only. There is no process then, and nothing
        that a reboot ends.
    type: bool
    default: true
  preallocate:
    description:
      - Whether a new image, and what is added to one that grows, gets its disk space at once. Otherwise it is sparse,
        and a warning tells when the disk is too small for all of it.
    type: bool
    default: false
  mount_options:
    description:
      - The image's mount options. They count when it is mounted; a mounted one is not mounted again.
      - By default C(discard), which returns freed space to the host, and nothing with O(preallocate=true).
        C(prjquota) is always added for xfs.
    type: list
    elements: str
  state:
    description:
      - V(absent) unmounts the image, which detaches its loop device, or releases the lock on the data root. The
        engine must have been stopped before.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description: Whether O(state=absent) also removes the image with all that is in it.
    type: bool
    default: false
  force:
    description:
      - Whether a file at O(image) that holds something else than ext4 or xfs is replaced. One that has either is not
        formatted even then.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description:
      - Predicts exactly what a run would do. To know it, overlay is tried on the data root for a moment in check mode
        as well.
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

- name: Let it go, and keep the image
  mesos.dind.loop_storage:
    state: absent

- name: An image on a volume whose containers can be limited in size
  mesos.dind.loop_storage:
    image: /volume/docker.img
    size: 20G
    fstype: xfs
    strategy: loop

- name: Undo that, data included
  mesos.dind.loop_storage:
    image: /volume/docker.img
    state: absent
    purge: true
"""

RETURN = r"""
storage_driver:
  description:
    - What the engine is to be given as its storage driver. That of existing data, otherwise V(overlay2), V(aufs) or
      V(vfs). Data of a containerd image store is reported by its snapshotter, V(overlayfs) or V(native), which needs
      the engine's feature C(containerd-snapshotter).
  returned: when O(state=present)
  type: str
  sample: overlay2
strategy:
  description: The strategy in use.
  returned: when O(state=present)
  type: str
  sample: loop
reason:
  description: Why it was chosen, with the result of the probe where there was one.
  returned: when O(state=present)
  type: str
  sample: there is an image already
device:
  description: The loop device; null without an image.
  returned: when O(state=present)
  type: str
  sample: /dev/loop0
image:
  description: The image file; null where the data root itself is used.
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
  description: Whether image or data root outlive the container, as far as can be seen. A warning tells if not.
  returned: when O(state=present)
  type: bool
  sample: true
actions:
  description: What was done or, in check mode, would be done, in order.
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
