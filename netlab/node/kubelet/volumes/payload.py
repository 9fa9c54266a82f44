"""What the files of a configMap, secret, downwardAPI or projected volume hold. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from netlab.api.types import Obj
from netlab.node.kubelet.downward import DownwardError, PodFacts, container_field, pod_field
from netlab.node.kubelet.sources import configmap_bytes, secret_bytes
from netlab.node.kubelet.volumes.atomic import File

DEFAULT_MODE = 0o644


class VolumeError(Exception):
    """A volume cannot be set up; `volume` is its name, the text is the end of the FailedMount event."""

    def __init__(self, volume: str, message: str) -> None:
        self.volume = volume
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A projected service account token that has to be asked for."""

    audience: str
    expiration_seconds: int
    path: str
    mode: int


@dataclass(slots=True)
class Inputs:
    """The objects that a volume's files are made of, fetched beforehand; `tokens` by TokenRequest."""

    facts: PodFacts
    configmaps: Mapping[str, Obj | None]
    secrets: Mapping[str, Obj | None]
    tokens: Mapping[TokenRequest, str]


def references(volume: Obj) -> list[tuple[str, str]]:
    """(plural, name) of the objects that a volume needs."""
    found: list[tuple[str, str]] = []
    if source := volume.get("configMap"):
        found.append(("configmaps", source["name"]))
    if source := volume.get("secret"):
        found.append(("secrets", source["secretName"]))
    for part in (volume.get("projected") or {}).get("sources") or ():
        if source := part.get("configMap"):
            found.append(("configmaps", source["name"]))
        if source := part.get("secret"):
            found.append(("secrets", source["name"]))
    return found


def token_requests(volume: Obj) -> list[TokenRequest]:
    """The tokens that a projected volume needs."""
    projected = volume.get("projected") or {}
    mode = int(projected.get("defaultMode") or DEFAULT_MODE)
    return [
        TokenRequest(
            token.get("audience") or "", int(token.get("expirationSeconds") or 3600), token.get("path") or "token", mode
        )
        for part in projected.get("sources") or ()
        if (token := part.get("serviceAccountToken"))
    ]


def build(volume: Obj, inputs: Inputs) -> dict[str, File]:
    """The payload of one volume. Raises VolumeError."""
    name = volume["name"]
    if source := volume.get("configMap"):
        return _configmap(name, source, source["name"], _mode(source), inputs)
    if source := volume.get("secret"):
        return _secret(name, source, source["secretName"], _mode(source), inputs)
    if source := volume.get("downwardAPI"):
        return _downward(name, source, _mode(source), inputs)
    return _projected(name, volume["projected"], inputs)


def _mode(source: Obj) -> int:
    mode = source.get("defaultMode")
    return DEFAULT_MODE if mode is None else int(mode)


def _projected(name: str, projected: Obj, inputs: Inputs) -> dict[str, File]:
    mode = _mode(projected)
    files: dict[str, File] = {}
    for part in projected.get("sources") or ():
        if source := part.get("configMap"):
            files.update(_configmap(name, source, source["name"], mode, inputs))
        elif source := part.get("secret"):
            files.update(_secret(name, source, source["name"], mode, inputs))
        elif source := part.get("downwardAPI"):
            files.update(_downward(name, source, mode, inputs))
        elif part.get("clusterTrustBundle"):
            raise VolumeError(name, "clusterTrustBundle projection is not supported by netlab")
    for request in token_requests({"projected": projected}):
        files[request.path] = File(inputs.tokens[request].encode(), mode)
    return files


def _configmap(name: str, source: Obj, wanted: str, mode: int, inputs: Inputs) -> dict[str, File]:
    where = inputs.facts.namespace
    return _select(name, source, inputs.configmaps.get(wanted), configmap_bytes, mode, ("configmap", where, wanted))


def _secret(name: str, source: Obj, wanted: str, mode: int, inputs: Inputs) -> dict[str, File]:
    return _select(
        name, source, inputs.secrets.get(wanted), secret_bytes, mode, ("secret", inputs.facts.namespace, wanted)
    )


def _select(
    volume: str,
    source: Obj,
    obj: Obj | None,
    read: Callable[[Obj], dict[str, bytes]],
    mode: int,
    what: tuple[str, str, str],
) -> dict[str, File]:
    kind, _, wanted = what
    optional = bool(source.get("optional"))
    if obj is None:
        if optional:
            return {}
        raise VolumeError(volume, f'{kind} "{wanted}" not found')
    data = read(obj)
    items = source.get("items")
    if not items:
        return {key: File(value, mode) for key, value in data.items()}
    files: dict[str, File] = {}
    for item in items:
        if item["key"] in data:
            own = item.get("mode")
            files[item["path"]] = File(data[item["key"]], mode if own is None else int(own))
        elif not optional:
            word = "config" if kind == "configmap" else "secret"
            raise VolumeError(volume, f"references non-existent {word} key: {item['key']}")
    return files


def _downward(volume: str, source: Obj, mode: int, inputs: Inputs) -> dict[str, File]:
    files: dict[str, File] = {}
    for item in source.get("items") or ():
        try:
            if ref := item.get("fieldRef"):
                text = pod_field(inputs.facts, ref["fieldPath"])
            else:
                text = container_field(inputs.facts, item["resourceFieldRef"])
        except DownwardError as problem:
            raise VolumeError(volume, str(problem)) from problem
        own = item.get("mode")
        files[item["path"]] = File(text.encode(), mode if own is None else int(own))
    return files
