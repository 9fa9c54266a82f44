"""PURE. Request bodies to objects: JSON, YAML, protobuf; strictness as the request asks."""

from functools import lru_cache
from typing import Any

import orjson

from netlab.api import decoding, errors
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.apiserver.extensions.kinds import CustomResource
from netlab.apiserver.extensions.values import admit
from netlab.apiserver.wire import yamlguard
from netlab.apiserver.wire.message import Request
from netlab.apiserver.wire.negotiate import JSON, PROTOBUF, YAML, content_type

_YAML_TYPES = frozenset({YAML, "text/yaml", "application/x-yaml"})
ACCEPTED = (JSON, YAML, PROTOBUF)


def field_validation(request: Request) -> decoding.FieldValidation:
    """The query's fieldValidation; upstream's default is Warn."""
    asked = request.query.get("fieldValidation", "")
    if asked not in ("", "Strict", "Warn", "Ignore"):
        cause = errors.cause(
            "FieldValueNotSupported",
            "fieldValidation",
            f'Unsupported value: "{asked}": supported values: "Ignore", "Strict", "Warn"',
        )
        raise errors.invalid(_options_kind(request), "", [cause], group="meta.k8s.io")
    return asked or "Warn"  # type: ignore[return-value]


def _options_kind(request: Request) -> str:
    return {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions"}.get(
        request.method, "DeleteOptions"
    )


def decode_object(request: Request, resource: Resource) -> Obj:
    """The body as an object of `resource`; warnings are added to the request. Raises StatusError 400 or 415."""
    raw: bytes | Obj = request.body
    strictness = field_validation(request)
    kind = content_type(request.headers.get("content-type", ""))
    if kind == PROTOBUF:
        raw, strictness = from_protobuf(request.body), "Ignore"
    elif kind in _YAML_TYPES:
        raw = from_yaml(request.body)
    elif kind != JSON:
        raise errors.unsupported_media_type(ACCEPTED)
    obj, warnings = decode(raw, resource, strictness)
    request.warnings += warnings
    return obj


def decode(raw: bytes | Obj, resource: Resource, strictness: decoding.FieldValidation) -> tuple[Obj, list[str]]:
    """As `decoding.decode`; an object of a custom kind comes out pruned and defaulted by its schema."""
    obj, warnings = decoding.decode(raw, resource, strictness)
    if isinstance(resource, CustomResource):
        warnings = [*warnings, *admit(obj, resource, strictness)]
    return obj, warnings


def decode_of(request: Request, api_version: str, kind: str, *, empty: Obj | None = None) -> Obj:
    """The body of a subresource or of options: what is not of its types is refused; any apiVersion is taken.

    `empty` is what no body means."""
    if not request.body and empty is not None:
        return empty
    sent = content_type(request.headers.get("content-type", ""))
    raw: bytes | Obj = request.body
    if sent == PROTOBUF:
        raw = from_protobuf(request.body)
    elif sent in _YAML_TYPES:
        raw = from_yaml(request.body)
    return decoding.decode_as(raw, api_version, kind, "Ignore", any_version=True)[0]


def from_json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise errors.bad_request(f"couldn't get version/kind; json parse error: {error}") from None


def from_yaml(body: bytes) -> Obj:
    return mapping(yaml_value(body)[0])


def yaml_value(body: bytes) -> tuple[Any, str]:
    """The value of a YAML (or JSON) document, and what upstream says of keys that it repeats."""
    import yaml

    yamlguard.check(body)
    try:
        loader = _yaml_loader()(body)
        value = loader.get_single_data()
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise errors.bad_request(f"error decoding YAML: {error}") from None
    repeated = "\n".join(loader.repeated)
    return value, f"yaml: unmarshal errors:\n{repeated}" if repeated else ""


@lru_cache(maxsize=1)
def _yaml_loader() -> Any:
    """A loader of what JSON can hold: times stay text; it notes repeated keys, whose last value counts."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        def __init__(self, body: bytes) -> None:
            super().__init__(body)
            self.repeated: list[str] = []

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if key.value in seen:
                    self.repeated.append(f'  line {key.start_mark.line + 1}: key "{key.value}" already set in map')
                if isinstance(key.value, str):
                    seen.add(key.value)
            return super().construct_mapping(node, deep)

    times = "tag:yaml.org,2002:timestamp"
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in rows if tag != times]
        for first, rows in base.yaml_implicit_resolvers.items()
    }
    return Loader


def from_protobuf(body: bytes) -> Obj:
    from netlab.api import protobuf

    return mapping(protobuf.decode(body))


def mapping(value: Any) -> Obj:
    if not isinstance(value, dict):
        raise errors.bad_request("couldn't get version/kind; json parse error: the body is not an object")
    return value
