"""The versions that a node reports about itself."""

from __future__ import annotations

from netlab.api.version import KUBERNETES_VERSION

KUBELET_VERSION = KUBERNETES_VERSION
"""The API server's own: no upgrade is going on."""

RUNTIME_VERSION = "netlab://0.1.0"
"""`<runtime>://<version>`, as a node's containerRuntimeVersion."""
