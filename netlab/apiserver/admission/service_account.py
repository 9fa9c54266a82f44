"""ServiceAccount: every pod has an account, its token in a projected volume, its image pull secrets.

Source followed: plugin/pkg/admission/serviceaccount.
"""

from netlab.api import errors, meta
from netlab.api.meta import generate_name
from netlab.api.types import Obj
from netlab.apiserver.admission.attributes import Attributes, Plugin, Reader

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
MIRROR = "kubernetes.io/config.mirror"
_TOKEN_SECONDS = 60 * 60 + 7


def _mutate(reader: Reader, attributes: Attributes) -> None:
    pod = attributes.obj
    if attributes.resource.group_resource != "pods" or attributes.subresource or attributes.operation != "CREATE":
        return
    if pod is None or MIRROR in meta.annotations(pod):
        return
    spec = pod.setdefault("spec", {})
    name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    account = reader.read("v1", "ServiceAccount", attributes.namespace, name)
    if account is None:
        why = f'error looking up service account {attributes.namespace}/{name}: serviceaccount "{name}" not found'
        raise errors.forbidden(attributes.resource, attributes.name, why)
    if _wants_token(spec, account):
        _mount_token(spec)
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [dict(secret) for secret in account["imagePullSecrets"]]


def _wants_token(spec: Obj, account: Obj) -> bool:
    if "automountServiceAccountToken" in spec:
        return bool(spec["automountServiceAccountToken"])
    return bool(account.get("automountServiceAccountToken", True))


def _mount_token(spec: Obj) -> None:
    volumes = spec.setdefault("volumes", [])
    name = next((v["name"] for v in volumes if str(v.get("name", "")).startswith("kube-api-access-")), "")
    made = not name
    name = name or generate_name("kube-api-access-")
    used = False
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        mounts = container.setdefault("volumeMounts", [])
        if any(mount.get("mountPath") == MOUNT_PATH for mount in mounts):
            if not mounts:
                del container["volumeMounts"]
            continue
        mounts.append({"name": name, "readOnly": True, "mountPath": MOUNT_PATH})
        used = True
    if used and made:
        volumes.append({"name": name, "projected": _sources()})
    if not volumes:
        del spec["volumes"]


def _sources() -> Obj:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": _TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {"sources": sources, "defaultMode": 0o644}


PLUGIN = Plugin("ServiceAccount", mutate=_mutate, about=frozenset({"pods"}))
