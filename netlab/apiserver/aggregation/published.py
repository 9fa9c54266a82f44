"""PURE. What extension servers must know to believe the front proxy, where upstream publishes it.

Source followed: pkg/controlplane/controller/clusterauthenticationtrust; the Role is one of the bootstrap policy's.
"""

from __future__ import annotations

import json

from netlab.api.types import Obj
from netlab.apiserver.pki import Pki

NAME = "extension-apiserver-authentication"
READER = f"{NAME}-reader"
_RBAC = "rbac.authorization.k8s.io"
_ALLOWED = ("front-proxy-client",)


def published(pki: Pki) -> list[Obj]:
    """The ConfigMap, the Role that may read it, and its binding to those who must."""
    return [_config(pki), _reader(), _binding()]


def _config(pki: Pki) -> Obj:
    data = {
        "client-ca-file": pki.ca.cert.decode(),
        "requestheader-allowed-names": json.dumps(_ALLOWED),
        "requestheader-client-ca-file": pki.front_proxy_ca.cert.decode(),
        "requestheader-extra-headers-prefix": json.dumps(["X-Remote-Extra-"]),
        "requestheader-group-headers": json.dumps(["X-Remote-Group"]),
        "requestheader-uid-headers": json.dumps(["X-Remote-Uid"]),
        "requestheader-username-headers": json.dumps(["X-Remote-User"]),
    }
    metadata = {"name": NAME, "namespace": "kube-system"}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": data}


def _metadata() -> Obj:
    return {
        "name": READER,
        "namespace": "kube-system",
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    }


def _reader() -> Obj:
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [NAME], "verbs": ["get", "list", "watch"]}
    return {"kind": "Role", "apiVersion": f"{_RBAC}/v1", "metadata": _metadata(), "rules": [rule]}


def _binding() -> Obj:
    users = ("system:kube-controller-manager", "system:kube-scheduler")
    return {
        "kind": "RoleBinding",
        "apiVersion": f"{_RBAC}/v1",
        "metadata": {**_metadata(), "name": f"system::{READER}"},
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": READER},
        "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": user} for user in users],
    }
