"""Rules of volume sources. Source followed: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

import re
from collections.abc import Callable

from netlab.api.types import Obj
from netlab.api.validation import names, paths
from netlab.api.validation.field import FieldError, duplicate, forbidden, invalid, not_supported, required, too_long
from netlab.api.validation.gofmt import GoSyntax
from netlab.api.validation.meta import each
from netlab.api.validation.resources import value

_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_ONE_TYPE = "may not specify more than 1 volume type"
_HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
_DOWNWARD = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
CONTAINER_RESOURCES = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
_IQN = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([a-zA-Z0-9.-]+)(:[^,;*&$|\s]+)$"),
    "eui": re.compile(r"eui.[a-zA-Z0-9]{16}$"),
    "naa": re.compile(r"naa.[a-zA-Z0-9]{32}$"),
}

Rule = Callable[[Obj, str], list[FieldError]]


def volumes(given: list[Obj], pod_name: str, field: str) -> tuple[dict[str, Obj], list[FieldError]]:
    """`ValidateVolumes`: the good ones by name, and the findings. `pod_name` is "" in templates."""
    found: list[FieldError] = []
    good: dict[str, Obj] = {}
    seen: set[str] = set()
    created = {f"{pod_name}-{one.get('name', '')}" for one in given if pod_name and "ephemeral" in one}
    for index, one in enumerate(given):
        here, name = f"{field}[{index}]", one.get("name", "")
        own = volume_source(one, name, pod_name, here)
        own += each(f"{here}.name", name, names.dns_label(name)) if name else [required(f"{here}.name")]
        if name in seen:
            own.append(duplicate(f"{here}.name", name))
        if own:
            found += own
        else:
            seen.add(name)
            good[name] = one
        claim = (one.get("persistentVolumeClaim") or {}).get("claimName")
        if claim is not None and claim in created:
            detail = "must not reference a PVC that gets created for an ephemeral volume"
            found.append(invalid(f"{here}.persistentVolumeClaim.claimName", claim, detail))
    return good, found


def volume_source(source: Obj, name: str, pod_name: str, field: str) -> list[FieldError]:
    """`validateVolumeSource`: exactly one source, and its rules."""
    found: list[FieldError] = []
    count = 0
    for key, rule in SOURCES.items():
        if key not in source:
            continue
        if count:
            found.append(forbidden(f"{field}.{_FORBIDDEN_AS.get(key, key)}", _ONE_TYPE))
            continue
        count += 1
        found += rule(source[key], f"{field}.{_CHECKED_AS.get(key, key)}")
        if key == "ephemeral" and pod_name and name:
            claim = f"{pod_name}-{name}"
            messages = (f'PVC name "{claim}": {message}' for message in names.dns_subdomain(claim))
            found += each(f"{field}.name", name, messages)
    if not count:
        found.append(required(field, "must specify a volume type"))
    return found


def _needs(*fields: str) -> Rule:
    """A rule that these fields are given."""

    def rule(source: Obj, field: str) -> list[FieldError]:
        return [required(f"{field}.{key}") for key in fields if not source.get(key)]

    return rule


def _empty_dir(source: Obj, field: str) -> list[FieldError]:
    limit = source.get("sizeLimit")
    if limit is not None and value(limit) < 0:
        return [forbidden(f"{field}.sizeLimit", "SizeLimit field must be a valid resource quantity")]
    return []


def host_path(source: Obj, field: str) -> list[FieldError]:
    """`validateHostPathVolumeSource`."""
    if not source.get("path"):
        return [required(f"{field}.path")]
    found = paths.no_backsteps(source["path"], f"{field}.path")
    kind = source.get("type")
    if kind is not None and kind not in _HOST_PATH_TYPES:
        found.append(not_supported(f"{field}.type", kind, _HOST_PATH_TYPES))
    return found


def _git_repo(source: Obj, field: str) -> list[FieldError]:
    found = [] if source.get("repository") else [required(f"{field}.repository")]
    return found + paths.local_descending(source.get("directory", ""), f"{field}.directory")


def disk(source: Obj, field: str) -> list[FieldError]:
    """GCE and AWS disks."""
    name = "pdName" if field.endswith("persistentDisk") else "volumeID"
    found = [] if source.get(name) else [required(f"{field}.{name}")]
    partition = source.get("partition", 0)
    if not 0 <= partition <= 255:
        found.append(invalid(f"{field}.partition", partition, names.range_error(1, 255)))
    return found


def mode(source: Obj, key: str, field: str) -> list[FieldError]:
    """File modes are at most 0777."""
    given = source.get(key)
    return [invalid(f"{field}.{key}", given, _MODE)] if given is not None and not 0 <= given <= 0o777 else []


def _secret(source: Obj, field: str) -> list[FieldError]:
    found = [] if source.get("secretName") else [required(f"{field}.secretName")]
    return found + mode(source, "defaultMode", field) + _items(source, field)


def _config_map(source: Obj, field: str) -> list[FieldError]:
    found = [] if source.get("name") else [required(f"{field}.name")]
    return found + mode(source, "defaultMode", field) + _items(source, field)


def _items(source: Obj, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for index, item in enumerate(source.get("items") or ()):
        found += _key_to_path(item, f"{field}.items[{index}]")
    return found


def _key_to_path(item: Obj, field: str) -> list[FieldError]:
    found = [required(f"{field}.{key}") for key in ("key", "path") if not item.get(key)]
    found += paths.local_not_reserved(item.get("path", ""), f"{field}.path")
    return found + mode(item, "mode", field)


def nfs(source: Obj, field: str) -> list[FieldError]:
    """`validateNFSVolumeSource`."""
    found = [required(f"{field}.{key}") for key in ("server", "path") if not source.get(key)]
    if not source.get("path", "").startswith("/"):
        found.append(invalid(f"{field}.path", source.get("path", ""), "must be an absolute path"))
    return found


def iscsi(source: Obj, field: str) -> list[FieldError]:
    """`validateISCSIVolumeSource`."""
    found = [] if source.get("targetPortal") else [required(f"{field}.targetPortal")]
    if not source.get("iqn"):
        found.append(required(f"{field}.iqn"))
    else:
        found += _iqn(source["iqn"], f"{field}.iqn")
    lun = source.get("lun", 0)
    if not 0 <= lun <= 255:
        found.append(invalid(f"{field}.lun", lun, names.range_error(0, 255)))
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and "secretRef" not in source:
        found.append(required(f"{field}.secretRef"))
    if "initiatorName" in source:
        found += _iqn(source["initiatorName"], f"{field}.initiatorname")
    return found


def _iqn(name: str, field: str) -> list[FieldError]:
    rule = _IQN.get(name[:3])
    if rule is None:
        return [invalid(field, name, "must be valid format starting with iqn, eui, or naa")]
    return [] if rule.match(name) else [invalid(field, name, "must be valid format")]


def fibre_channel(source: Obj, field: str) -> list[FieldError]:
    """`validateFCVolumeSource`."""
    targets, wwids, lun = source.get("targetWWNs") or [], source.get("wwids") or [], source.get("lun")
    found = []
    if not targets and not wwids:
        found.append(required(f"{field}.targetWWNs", "must specify either targetWWNs or wwids, but not both"))
    if targets and wwids:
        detail = "targetWWNs and wwids can not be specified simultaneously"
        found.append(invalid(f"{field}.targetWWNs", targets, detail))
    if targets and lun is None:
        found.append(required(f"{field}.lun", "lun is required if targetWWNs is specified"))
    elif targets and lun is not None and not 0 <= lun <= 255:
        found.append(invalid(f"{field}.lun", lun, names.range_error(0, 255)))
    return found


def flocker(source: Obj, field: str) -> list[FieldError]:
    """`validateFlockerVolumeSource`."""
    name, uuid = source.get("datasetName", ""), source.get("datasetUUID", "")
    found = []
    if not name and not uuid:
        found.append(required(field, "one of datasetName and datasetUUID is required"))
    if name and uuid:
        detail = "datasetName and datasetUUID can not be specified simultaneously"
        found.append(invalid(field, "resource", detail))
    if "/" in name:
        found.append(invalid(f"{field}.datasetName", name, "must not contain '/'"))
    return found


def _downward_api(source: Obj, field: str) -> list[FieldError]:
    found = mode(source, "defaultMode", field)
    for item in source.get("items") or ():
        found += _downward_file(item, field)
    return found


def _downward_file(item: Obj, field: str) -> list[FieldError]:
    path, field_ref, resource_ref = item.get("path", ""), item.get("fieldRef"), item.get("resourceFieldRef")
    found = [] if path else [required(f"{field}.path")]
    found += paths.local_not_reserved(path, f"{field}.path")
    if field_ref is not None:
        found += object_field(field_ref, _DOWNWARD, f"{field}.fieldRef")
        if resource_ref is not None:
            detail = "fieldRef and resourceFieldRef can not be specified simultaneously"
            found.append(invalid(field, "resource", detail))
    elif resource_ref is not None:
        found += resource_field(resource_ref, f"{field}.resourceFieldRef", in_volume=True)
    else:
        found.append(required(field, "one of fieldRef and resourceFieldRef is required"))
    return found + mode(item, "mode", field)


_POD_FIELDS = frozenset(
    {"metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations", "spec.nodeName"}
    | {"spec.restartPolicy", "spec.serviceAccountName", "spec.schedulerName", "status.phase", "status.podIP"}
    | {"status.podIPs", "status.hostIP", "status.hostIPs", "spec.host", "spec.hostNetwork"}
)
_SUBSCRIPT = re.compile(r"(metadata\.labels|metadata\.annotations|[^\[]+)\['(.*)'\]")


def object_field(ref: Obj, supported: tuple[str, ...], field: str) -> list[FieldError]:
    """`validateObjectFieldSelector`: the downward API's field paths."""
    version, path = ref.get("apiVersion", ""), ref.get("fieldPath", "")
    if not version:
        return [required(f"{field}.apiVersion")]
    if not path:
        return [required(f"{field}.fieldPath")]
    if version != "v1":
        why = f"unsupported pod version: {version}"
        return [invalid(f"{field}.fieldPath", path, f"error converting fieldPath: {why}")]
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript is not None:
        base, key = subscript.groups()
        if base == "metadata.annotations":
            return each(field, key.lower(), names.qualified_name(key.lower()))
        if base == "metadata.labels":
            return each(field, key, names.qualified_name(key))
        why = f"error converting fieldPath: field label does not support subscript: {base}"
        return [invalid(f"{field}.fieldPath", path, why)]
    if path not in _POD_FIELDS:
        why = f"error converting fieldPath: field label not supported: {path}"
        return [invalid(f"{field}.fieldPath", path, why)]
    return [] if path in supported else [not_supported(f"{field}.fieldPath", path, supported)]


_BYTES = ("1", *(f"1{unit}" for unit in ("k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")))
_DIVISORS = {
    "cpu": (("1m", "1"), "cpu"),
    "memory": (_BYTES, "memory"),
    "ephemeral-storage": (_BYTES, "local ephemeral storage"),
    "hugepages-": (_BYTES, "hugepages"),
}


def resource_field(ref: Obj, field: str, *, in_volume: bool) -> list[FieldError]:
    """`validateContainerResourceFieldSelector`."""
    name = ref.get("resource", "")
    found = []
    if in_volume and not ref.get("containerName"):
        found.append(required(f"{field}.containerName"))
    elif not name:
        found.append(required(f"{field}.resource"))
    elif name not in CONTAINER_RESOURCES and not name.startswith(("requests.hugepages-", "limits.hugepages-")):
        found.append(not_supported(f"{field}.resource", name, CONTAINER_RESOURCES))
    return found + _divisor(name, ref.get("divisor", "0"), f"{field}.divisor")


def _divisor(name: str, divisor: str, field: str) -> list[FieldError]:
    kind, _, resource = name.partition(".")
    if value(divisor) == 0 or kind not in ("limits", "requests"):
        return []
    allowed, what = _DIVISORS.get("hugepages-" if resource.startswith("hugepages-") else resource, ((), ""))
    if not allowed or divisor in allowed:
        return []
    shown = "1m and 1" if what == "cpu" else ", ".join(allowed)
    detail = f"only divisor's values {shown} are supported with the {what} resource"
    return [invalid(field, name, detail)]


def _projected(source: Obj, field: str) -> list[FieldError]:
    found = mode(source, "defaultMode", field)
    taken: set[str] = set()
    for index, one in enumerate(source.get("sources") or ()):
        here = f"{field}.sources[{index}]"
        found += _projected_keys(one, here, field, taken)
        token = one.get("serviceAccountToken")
        if token is not None:
            found += _token(token, f"{here}.serviceAccountToken", field)
        bundle = one.get("clusterTrustBundle")
        if bundle is not None:
            found += _trust_bundle(bundle, f"{here}.clusterTrustBundle")
        if len(one) > 1:
            found.append(forbidden(here, "may not specify more than 1 volume type per source"))
    return found


def _projected_keys(one: Obj, here: str, field: str, taken: set[str]) -> list[FieldError]:
    """The sources with items: secret, configMap, downwardAPI; no two may write the same path."""
    found: list[FieldError] = []
    for key in ("secret", "configMap", "downwardAPI"):
        part = one.get(key)
        if part is None:
            continue
        if key != "downwardAPI" and not part.get("name"):
            found.append(required(f"{here}.{key}.name"))
        for index, item in enumerate(part.get("items") or ()):
            if key == "downwardAPI":
                found += _downward_file(item, f"{here}.{key}")
            else:
                found += _key_to_path(item, f"{here}.{key}.items[{index}]")
            path = item.get("path", "")
            if path and path in taken:
                shown = path if key == "downwardAPI" else part.get("name", "")
                found.append(invalid(field, shown, "conflicting duplicate paths"))
            taken.add(path)
    return found


def _token(token: Obj, here: str, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    seconds = token.get("expirationSeconds", 0)
    if seconds < 600:
        detail = "may not specify a duration less than 10 minutes"
        found.append(invalid(f"{here}.expirationSeconds", seconds, detail))
    if seconds > 1 << 32:
        detail = "may not specify a duration larger than 2^32 seconds"
        found.append(invalid(f"{here}.expirationSeconds", seconds, detail))
    if not token.get("path"):
        return [*found, required(f"{field}.path")]
    return found + paths.local_not_reserved(token["path"], f"{field}.path")


def _trust_bundle(bundle: Obj, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    if "name" in bundle and "signerName" in bundle:
        shown = GoSyntax("core.ClusterTrustBundleProjection{…}")
        found.append(invalid(field, shown, "only one of name and signerName may be used"))
    elif "name" not in bundle and "signerName" not in bundle:
        found.append(required(field, "either name or signerName must be specified"))
    if not bundle.get("path"):
        found.append(required(f"{field}.path"))
    return found + paths.local_not_reserved(bundle.get("path", ""), f"{field}.path")


def csi_driver_name(name: str, field: str) -> list[FieldError]:
    """`ValidateCSIDriverName`."""
    found = [] if name else [required(field)]
    if len(name) > 63:
        found.append(too_long(field, 63))
    return found + each(field, name, names.dns_subdomain(name.lower()))


def _csi(source: Obj, field: str) -> list[FieldError]:
    found = csi_driver_name(source.get("driver", ""), f"{field}.driver")
    secret = source.get("nodePublishSecretRef")
    if secret is not None:
        if not secret.get("name"):
            found.append(required(f"{field}.nodePublishSecretRef.name"))
        else:
            found += each(f"{field}.name", secret["name"], names.dns_subdomain(secret["name"]))
    return found


def _ephemeral(source: Obj, field: str) -> list[FieldError]:
    claim = source.get("volumeClaimTemplate")
    if claim is None:
        return [required(f"{field}.volumeClaimTemplate")]
    from netlab.api.validation.persistent import claim_template

    return claim_template(claim, f"{field}.volumeClaimTemplate")


def azure_disk(source: Obj, field: str) -> list[FieldError]:
    """`validateAzureDisk`."""
    found = [required(f"{field}.{key}") for key in ("diskName", "diskURI") if not source.get(key)]
    for key, allowed in (
        ("cachingMode", ("None", "ReadOnly", "ReadWrite")),
        ("kind", ("Dedicated", "Managed", "Shared")),
    ):
        if key in source and source[key] not in allowed:
            found.append(not_supported(f"{field}.{key}", source[key], allowed))
    uri = source.get("diskURI", "")
    if source.get("kind") == "Managed" and not uri.startswith("/subscriptions/"):
        form = ("/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",)
        found.append(not_supported(f"{field}.diskURI", uri, form))
    elif source.get("kind") != "Managed" and not uri.startswith("https://"):
        form = ("https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd",)
        found.append(not_supported(f"{field}.diskURI", uri, form))
    return found


def flex_volume(source: Obj, field: str) -> list[FieldError]:
    """`validateFlexVolumeSource`."""
    found = [] if source.get("driver") else [required(f"{field}.driver")]
    for key in source.get("options") or ():
        if f".{key.partition('/')[0].lower()}".endswith((".kubernetes.io", ".k8s.io")):
            detail = "kubernetes.io and k8s.io namespaces are reserved"
            found.append(invalid(f"{field}.options[{key}]", key, detail))
    return found


def ceph_fs(source: Obj, field: str) -> list[FieldError]:
    """`validateCephFSVolumeSource`."""
    return [] if source.get("monitors") else [required(f"{field}.monitors")]


def cinder(source: Obj, field: str) -> list[FieldError]:
    """`validateCinderVolumeSource`."""
    found = [] if source.get("volumeID") else [required(f"{field}.volumeID")]
    secret = source.get("secretRef")
    if secret is not None and not secret.get("name"):
        found.append(required(f"{field}.secretRef.name"))
    return found


def quobyte(source: Obj, field: str) -> list[FieldError]:
    """`validateQuobyteVolumeSource`."""
    detail = "must be a host:port pair or multiple pairs separated by commas"
    registry = source.get("registry", "")
    found = []
    if not registry:
        found.append(required(f"{field}.registry", detail))
    else:
        bad = [pair for pair in registry.split(",") if not re.fullmatch(r"(\[[^\]]*\]|[^:]*):[^:]*", pair)]
        found += [invalid(f"{field}.registry", registry, detail) for _ in bad]
    return found if source.get("volume") else [*found, required(f"{field}.volume")]


def storage_os(source: Obj, field: str) -> list[FieldError]:
    """`validateStorageOSVolumeSource`."""
    name, namespace = source.get("volumeName", ""), source.get("volumeNamespace", "")
    found = each(f"{field}.volumeName", name, names.dns_label(name)) if name else [required(f"{field}.volumeName")]
    if namespace:
        found += each(f"{field}.volumeNamespace", namespace, names.dns_label(namespace))
    return found


SOURCES: dict[str, Rule] = {
    "emptyDir": _empty_dir,
    "hostPath": host_path,
    "gitRepo": _git_repo,
    "gcePersistentDisk": disk,
    "awsElasticBlockStore": disk,
    "secret": _secret,
    "nfs": nfs,
    "iscsi": iscsi,
    "glusterfs": _needs("endpoints", "path"),
    "flocker": flocker,
    "persistentVolumeClaim": _needs("claimName"),
    "rbd": _needs("monitors", "image"),
    "cinder": cinder,
    "cephfs": ceph_fs,
    "quobyte": quobyte,
    "downwardAPI": _downward_api,
    "fc": fibre_channel,
    "flexVolume": flex_volume,
    "configMap": _config_map,
    "azureFile": _needs("secretName", "shareName"),
    "vsphereVolume": _needs("volumePath"),
    "photonPersistentDisk": _needs("pdID"),
    "portworxVolume": _needs("volumeID"),
    "azureDisk": azure_disk,
    "storageos": storage_os,
    "projected": _projected,
    "scaleIO": _needs("gateway", "system", "volumeName"),
    "csi": _csi,
    "ephemeral": _ephemeral,
    "image": _needs("reference"),
}
"""In upstream's order."""
_FORBIDDEN_AS = {"downwardAPI": "downwarAPI", "cephfs": "cephFS"}
_CHECKED_AS = {"gcePersistentDisk": "persistentDisk"}
