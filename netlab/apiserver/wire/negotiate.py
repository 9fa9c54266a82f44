"""What representation of an answer the client accepts, in its order of preference."""

from dataclasses import dataclass
from functools import lru_cache

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
_JSON_TYPES = frozenset({JSON, "*/*", "application/*", "text/json"})


@dataclass(frozen=True, slots=True)
class Accepted:
    """`convert` is "" (the object as it is), "Table" or "PartialObjectMetadata" (…List), with its meta version."""

    convert: str = ""
    meta_version: str = "v1"
    yaml: bool = False
    pretty: bool = False


PLAIN = Accepted()


@lru_cache(maxsize=1024)
def accepted(header: str, tables: bool = True) -> Accepted | None:
    """The first of the accepted types that can be served; None when there is none (406).

    `tables`: whether what is asked for can be a Table (reviews cannot: upstream's have no TableConvertor).
    """
    if not header:
        return PLAIN
    for media, parameters in media_ranges(header):
        yaml = media == YAML
        if media not in _JSON_TYPES and not yaml:
            continue
        wanted = parameters.get("as", "")
        if not wanted:
            return Accepted(yaml=yaml)
        if parameters.get("g") != "meta.k8s.io" or parameters.get("v") not in ("v1", "v1beta1"):
            continue
        if wanted == "Table" and not tables:
            continue
        if wanted in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
            return Accepted(wanted.removesuffix("List"), parameters["v"], yaml)
    return None


def media_ranges(header: str) -> list[tuple[str, dict[str, str]]]:
    """Media types with their parameters, best quality first, otherwise in the order they are written."""
    ranges: list[tuple[float, str, dict[str, str]]] = []
    for part in header.split(","):
        media, *rest = [piece.strip() for piece in part.split(";")]
        parameters = dict(_parameter(piece) for piece in rest if "=" in piece)
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 1.0
        ranges.append((quality, media.lower(), parameters))
    ranges.sort(key=lambda entry: -entry[0])
    return [(media, parameters) for _, media, parameters in ranges]


def _parameter(piece: str) -> tuple[str, str]:
    name, _, value = piece.partition("=")
    return name.strip(), value.strip().strip('"')


@lru_cache(maxsize=256)
def content_type(header: str) -> str:
    """The media type of a body without its parameters; JSON when nothing is said."""
    return header.partition(";")[0].strip().lower() or JSON
