"""/healthz, /livez, /readyz: named checks, one by one or all, as apiserver/pkg/server/healthz answers them.

A check looks at what it is named after; those of hooks that this server does not have are not there.
"""

from collections.abc import Callable
from urllib.parse import parse_qs

from netlab.api import errors
from netlab.apiserver.api import Api
from netlab.apiserver.wire.message import Request, Response

ENDPOINTS = ("/healthz", "/livez", "/readyz")
_TEXT = "text/plain; charset=utf-8"
_RBAC, _SCHEDULING = "rbac.authorization.k8s.io/v1", "scheduling.k8s.io/v1"


def _there(api_version: str, kind: str, name: str, namespace: str = "") -> Callable[[Api], bool]:
    return lambda api: api.read(api_version, kind, namespace, name) is not None


_CHECKS: tuple[tuple[str, Callable[[Api], bool]], ...] = (
    ("ping", lambda api: True),
    ("log", lambda api: True),
    ("etcd", lambda api: api.store.list("namespaces", "").revision > 0),
    ("poststarthook/start-system-namespaces-controller", _there("v1", "Namespace", "kube-system")),
    ("poststarthook/rbac/bootstrap-roles", _there(_RBAC, "ClusterRole", "cluster-admin")),
    (
        "poststarthook/scheduling/bootstrap-system-priority-classes",
        _there(_SCHEDULING, "PriorityClass", "system-node-critical"),
    ),
    ("poststarthook/bootstrap-controller", _there("v1", "Service", "kubernetes", "default")),
)
_READY: tuple[tuple[str, Callable[[Api], bool]], ...] = (
    ("etcd-readiness", lambda api: api.store.revision > 0),
    ("informer-sync", lambda api: api.store.revision > 0),
)


def serve_health(api: Api, request: Request, path: str) -> Response:
    """`path` is one of the endpoints, or below it. Raises 404 for a check that does not exist."""
    endpoint, _, name = path[1:].partition("/")
    checks = dict((*_CHECKS, *_READY) if endpoint == "readyz" else _CHECKS)
    if name:
        if name not in checks:
            raise errors.path_not_found()
        checks = {name: checks[name]}
    excluded = set(parse_qs(request.raw_query).get("exclude", []))
    lines, failed = [], False
    for one, holds in checks.items():
        if one in excluded:
            lines.append(f"[+]{one} excluded: ok\n")
            continue
        held = _holds(holds, api)
        api.measured.health.set(float(held), one, endpoint)
        api.measured.health_asked.add(one, "success" if held else "error", endpoint)
        if held:
            lines.append(f"[+]{one} ok\n")
        else:
            failed = True
            lines.append(f"[-]{one} failed: reason withheld\n")
    unknown = " ".join(sorted(excluded - set(checks)))
    if unknown:
        lines.append(f'warn: some health checks cannot be excluded: no matches for "{unknown}"\n')
    if failed:
        return Response(500, f"{''.join(lines)}{endpoint} check failed\n".encode(), _TEXT)
    if "verbose" not in request.query:
        return Response(200, b"ok", _TEXT)
    return Response(200, f"{''.join(lines)}{endpoint} check passed\n".encode(), _TEXT)


def _holds(check: Callable[[Api], bool], api: Api) -> bool:
    try:
        return check(api)
    except Exception:  # whatever a check stumbles over, it does not hold
        return False
