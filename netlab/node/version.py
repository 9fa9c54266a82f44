"""The versions that a node reports about itself."""

from __future__ import annotations

KUBELET_VERSION = "v1.33.1"
"""The API server's own (netlab.apiserver.config.KUBERNETES_VERSION): no upgrade is going on."""

RUNTIME_VERSION = "netlab://0.1.0"
"""`<runtime>://<version>`, as a node's containerRuntimeVersion."""
