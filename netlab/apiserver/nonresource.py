"""What is served beside resources: discovery, schemas, health, the version, public keys."""

from typing import Any

import orjson

from netlab.api import discovery, errors
from netlab.api.measuring import TEXT
from netlab.api.version import GIT_COMMIT, KUBERNETES_VERSION
from netlab.apiserver.aggregation import documents
from netlab.apiserver.api import Api
from netlab.apiserver.health import ENDPOINTS, serve_health
from netlab.apiserver.wire.caching import with_etag
from netlab.apiserver.wire.message import Answer, Request, Response, json_response
from netlab.apiserver.wire.negotiate import JSON, media_ranges


def serve_path(api: Api, request: Request) -> Answer:
    """Raises 404 where nothing is served, 405 for anything but reading."""
    path = request.info.path.rstrip("/") or "/"
    if request.method not in ("GET", "HEAD"):
        raise errors.method_not_allowed()
    if path.startswith(ENDPOINTS):
        return serve_health(api, request, path)
    if path == "/version":
        return Response(200, orjson.dumps(_version(), option=orjson.OPT_INDENT_2))
    if path in ("/api", "/apis") or path.startswith(("/api/", "/apis/")):
        return _discovery(api, request, path)
    if path.startswith("/openapi/"):
        from netlab.apiserver.schemas import openapi

        return openapi(api, request, path)
    if path == "/":
        return Response(200, orjson.dumps({"paths": _paths(api)}, option=orjson.OPT_INDENT_2))
    if path == "/.well-known/openid-configuration":
        return json_response(_openid(api))
    if path == "/openid/v1/jwks":
        return Response(200, orjson.dumps(_keys(api)), "application/jwk-set+json")
    if path == "/metrics":
        return Response(200, api.measured.text(api), TEXT)
    if path == "/debug/netlab/changes":
        from netlab.apiserver.changes import changes

        return changes(api, request)
    raise errors.path_not_found()


def _version() -> dict[str, str]:
    major, minor, _ = KUBERNETES_VERSION[1:].split(".", 2)
    return {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(minor) - 1),
        "gitVersion": KUBERNETES_VERSION,
        "gitCommit": GIT_COMMIT,
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "python",
        "platform": "linux/amd64",
    }


def _discovery(api: Api, request: Request, path: str) -> Answer:
    registry = api.registry
    if path in ("/api", "/apis"):
        aggregated = _aggregated(request)
        if aggregated:
            whole = discovery.aggregated(registry, core=path == "/api", version=aggregated)
            if path == "/apis":
                whole = documents.with_discovery(whole, api.remotes.heard())
            kind = f"application/json;g=apidiscovery.k8s.io;v={aggregated};as=APIGroupDiscoveryList"
            return with_etag(request, orjson.dumps(whole, option=orjson.OPT_APPEND_NEWLINE), kind)
        if path == "/api":
            return json_response(discovery.api_versions(f"{api.config.advertise_address}:{api.config.advertise_port}"))
        return json_response(documents.with_groups(discovery.api_group_list(registry), api.remotes))
    parts = path.split("/")[1:]
    document: Any = None
    if parts[0] == "api" and len(parts) == 2:
        document = discovery.api_resource_list(registry, "", parts[1])
    elif parts[0] == "apis" and len(parts) == 2:
        document = documents.group_of(discovery.api_group(registry, parts[1]), parts[1], api.remotes)
    elif parts[0] == "apis" and len(parts) == 3:
        document = discovery.api_resource_list(registry, parts[1], parts[2])
    if document is None:
        raise errors.path_not_found()
    return json_response(document)


def _aggregated(request: Request) -> str:
    """The version of aggregated discovery that the client prefers to the plain documents, or ""."""
    for media, parameters in media_ranges(request.headers.get("accept", "")):
        if media != JSON:
            continue
        if parameters.get("as") != "APIGroupDiscoveryList":
            return ""
        if parameters.get("g") == "apidiscovery.k8s.io" and parameters.get("v") in ("v2", "v2beta1"):
            return parameters["v"]
    return ""


def _paths(api: Api) -> list[str]:
    found = {"/api", "/apis", "/openapi/v2", "/openapi/v3", "/version", "/metrics", "/openid/v1/jwks"}
    found |= {*ENDPOINTS, "/.well-known/openid-configuration"}
    for resource in api.registry:
        found.add(resource.prefix)
        if resource.group:
            found.add(f"/apis/{resource.group}")
    return sorted(found)


def _openid(api: Api) -> dict[str, Any]:
    issuer = api.authenticator.tokens.issuer
    base = f"https://{api.config.advertise_address}:{api.config.advertise_port}"
    return {
        "issuer": issuer,
        "jwks_uri": f"{base}/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }


def _keys(api: Api) -> dict[str, Any]:
    import json

    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from jwt.algorithms import ECAlgorithm

    key = json.loads(ECAlgorithm.to_jwk(load_pem_public_key(api.pki.sa_pub)))  # type: ignore[arg-type]
    return {"keys": [{"use": "sig", "alg": "ES256", "kid": api.authenticator.tokens.key_id, **key}]}
