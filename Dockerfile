# No `# syntax=` line: BuildKit's own frontend needs no registry, and the build must work without one.
ARG BASE_IMAGE=ubuntu:24.04

# The source of a Mesos. It is empty unless the build gets --build-context mesos=DIR (or docker-image://NAME).
FROM scratch AS mesos

# Ansible and the modules' libraries, with their bytecode.
FROM ${BASE_IMAGE} AS ansible
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv
COPY requirements.txt /tmp/
# The secrets are for users behind a proxy: a CA bundle, and pip's configuration.
RUN --mount=type=secret,id=ca_bundle --mount=type=secret,id=pip_conf \
    if [ -e /run/secrets/ca_bundle ]; then export PIP_CERT=/run/secrets/ca_bundle; fi \
    && if [ -e /run/secrets/pip_conf ]; then export PIP_CONFIG_FILE=/run/secrets/pip_conf; fi \
    && python3 -m venv /opt/mesos-dind \
    && /opt/mesos-dind/bin/pip install --no-cache-dir --no-compile --requirement /tmp/requirements.txt \
    && /opt/mesos-dind/bin/pip uninstall --yes pip \
    && echo /usr/share/ansible/collections > "$(echo /opt/mesos-dind/lib/python3*/site-packages)/mesos_dind.pth" \
    && python3 -m compileall -q -j 0 /opt/mesos-dind/lib

FROM ${BASE_IMAGE} AS image
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-apt \
    && rm -rf /var/lib/apt/lists/*
COPY --from=ansible /opt/mesos-dind /opt/mesos-dind
COPY galaxy.yml /usr/share/ansible/collections/ansible_collections/mesos/dind/
COPY meta /usr/share/ansible/collections/ansible_collections/mesos/dind/meta
COPY plugins /usr/share/ansible/collections/ansible_collections/mesos/dind/plugins
COPY roles /usr/share/ansible/collections/ansible_collections/mesos/dind/roles
COPY playbooks /usr/share/ansible/collections/ansible_collections/mesos/dind/playbooks
ARG MESOS_DEB_URL=""
ARG MESOS_DEB_SHA256=""
ARG MESOS_PACKAGES=""
RUN --mount=type=bind,from=mesos,target=/mnt/mesos --mount=type=secret,id=ca_bundle \
    if [ -e /run/secrets/ca_bundle ]; then export SSL_CERT_FILE=/run/secrets/ca_bundle; fi \
    && export LANG=C.UTF-8 ANSIBLE_COLLECTIONS_PATH=/usr/share/ansible/collections \
    && /opt/mesos-dind/bin/ansible-playbook -i localhost, \
        /usr/share/ansible/collections/ansible_collections/mesos/dind/playbooks/build.yml \
    && rm -rf /var/lib/apt/lists/* /root/.ansible

# No VOLUME for the engine's files: such a volume would outlive its container, and hide the storage in a loop image.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=2 CMD ["mesos-dind", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "-s", "--", "mesos-dind", "boot", "--"]
CMD ["mesos-slave"]
