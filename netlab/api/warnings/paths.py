"""Files of one volume that take each other's place. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from netlab.api.types import Obj
from netlab.api.validation.gofmt import quote

_SOURCES = (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName"), ("downwardAPI", "DownwardAPI", ""))


def overlapping(volumes: Iterable[Obj]) -> Iterator[str]:
    """Of items of configMap, secret, downwardAPI and projected volumes."""
    for volume in volumes:
        name = quote(volume.get("name", ""))
        for field, kind, key in _SOURCES:
            source = volume.get(field) or {}
            if source.get("items"):
                yield from _meeting(_paths(source), f"volume {name} ({_of(kind, source, key)}): overlapping paths")
        yield from _projected((volume.get("projected") or {}).get("sources") or (), name)


def _projected(sources: Iterable[Obj], name: str) -> Iterator[str]:
    before: set[str] = set()
    for source in sources:
        what, paths = "", []
        for field, kind, key in _SOURCES:
            if (source.get(field) or {}).get("items"):
                what, paths = _of(kind, source[field], key and "name"), _paths(source[field])
        token, bundle = source.get("serviceAccountToken"), source.get("clusterTrustBundle")
        if token:
            what, paths = "ServiceAccountToken", [token.get("path", "")]
        elif bundle:
            what, paths = (
                _of("ClusterTrustBundle", bundle, "name" if "name" in bundle else "signerName"),
                [bundle["path"]],
            )
        elif not source:
            yield f"volume {name} (Projected) has no sources provided"
        head = f"volume {name} (Projected {what}): overlapping paths"
        yield from _meeting(paths, head)
        yield from _meeting(sorted([*set(paths), *before]), head) if paths else ()
        before.update(paths)


def _of(kind: str, source: Obj, key: str) -> str:
    return f"{kind} {quote(source.get(key, ''))}" if key else kind


def _paths(source: Obj) -> list[str]:
    return [item.get("path", "") for item in source["items"]]


def _meeting(paths: Sequence[str], head: str) -> Iterator[str]:
    seen: list[str] = []
    for path in (path.rstrip("/") for path in paths):
        met = next((other for other in seen if path and other and _inside(path, other)), None)
        if met is not None:
            yield f"{head}: {quote(path)} with {quote(met)}"
        seen.append(path)


def _inside(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
