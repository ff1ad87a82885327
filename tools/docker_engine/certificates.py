# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The developer's own certificates, which archives behind a proxy may need."""

from __future__ import annotations

import os
from pathlib import Path

SYSTEM_CA = Path("/etc/ssl/certs/ca-certificates.crt")


def custom_ca() -> Path | None:
    """The bundle of certificates that the environment names, where it is not the system's own."""
    for variable in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT"):
        bundle = os.environ.get(variable)
        if bundle and Path(bundle).is_file() and Path(bundle).resolve() != SYSTEM_CA.resolve():
            return Path(bundle).absolute()
    return None
