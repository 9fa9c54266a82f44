"""What a cluster is expected to hold but nobody waits for: made once the server answers, off the way of the start.

Put there where missing; what an administrator changed stays. It is kubeadm's `cluster-info` with the right to read it
without credentials, the flow schemas and priority levels of 1.33, and the default roles that nothing here waits for,
which are reconciled at every start.
"""

import asyncio
import base64
import json
import logging

from netlab.api import meta
from netlab.api.resources import get
from netlab.api.types import Obj
from netlab.apiserver.api import Api
from netlab.apiserver.authz.reconcile import is_default
from netlab.apiserver.bootstrap import ensure

log = logging.getLogger("netlab.apiserver")

AFTER = 2.0
"""Seconds after the start; by then a lab is up."""
_RBAC = "rbac.authorization.k8s.io"
_PUBLIC, _INFO, _ROLE = "kube-public", "cluster-info", "kubeadm:bootstrap-signer-clusterinfo"


async def make_late(api: Api, after: float = AFTER) -> None:
    """Wait, then make what is missing. Failures are logged: nothing depends on these objects."""
    await asyncio.sleep(after)
    missing = [obj for obj in late_objects(api) if is_default(obj) or _absent(api, obj)]
    for error in await asyncio.gather(*(ensure(api, obj) for obj in missing), return_exceptions=True):
        if isinstance(error, Exception):
            log.error("default object: %s", error)


def late_objects(api: Api) -> list[Obj]:
    """All that is made late."""
    from netlab.apiserver.authz import policy
    from netlab.apiserver.flow.defaults import objects

    return [cluster_info(api), *_public_reader(), *objects(), *policy.late_objects()]


async def run_late(api: Api) -> None:
    """`make_late`, then what keeps its objects' status true; until cancelled."""
    from netlab.apiserver.flow.status import keep_statuses

    await make_late(api)
    await keep_statuses(api)


def _absent(api: Api, obj: Obj) -> bool:
    key = api.stored(get(obj["apiVersion"], obj["kind"])).key(meta.namespace(obj), meta.name(obj))
    return api.store.latest(key) is None


def cluster_info(api: Api) -> Obj:
    """Where the API server is and what its CA is; a controller signs it with the bootstrap tokens."""
    server = f"https://{api.config.advertise_address}:{api.config.advertise_port}"
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(api.pki.ca.cert).decode()}
    config: Obj = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "", "cluster": cluster}],
        "contexts": None,
        "users": None,
        "current-context": "",
        "preferences": {},
    }
    metadata = {"name": _INFO, "namespace": _PUBLIC}
    data = {"kubeconfig": json.dumps(config)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _public_reader() -> list[Obj]:
    metadata = {"name": _ROLE, "namespace": _PUBLIC}
    rule = {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": [_INFO]}
    role = {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]}
    binding = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": dict(metadata),
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": _ROLE},
        "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": "system:anonymous"}],
    }
    return [role, binding]
