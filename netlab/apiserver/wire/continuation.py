"""The `continue` token of a chunked list: where to go on, and at which revision (upstream storage/continue.go)."""

import base64
import binascii
from dataclasses import dataclass

import orjson

from netlab.api import errors

_VERSION = "meta.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class Continuation:
    """Go on after `start` (namespace/name or name) in the list as it was at `revision`; -1: as it is now."""

    revision: int
    start: str


def encode(position: Continuation) -> str:
    token = orjson.dumps({"v": _VERSION, "rv": position.revision, "start": position.start + "\0"})
    return base64.urlsafe_b64encode(token).decode().rstrip("=")


def decode(token: str) -> Continuation:
    """Raises StatusError 400 with upstream's message when the token is not one of ours."""
    try:
        padded = token + "=" * (-len(token) % 4)
        fields = orjson.loads(base64.urlsafe_b64decode(padded))
        version, revision, start = fields["v"], fields["rv"], fields["start"]
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise errors.bad_request("continue key is not valid: illegal base64 data or fields") from None
    if version != _VERSION or not isinstance(revision, int) or not isinstance(start, str) or revision == 0:
        raise errors.bad_request(
            f'continue key is not valid: server does not recognize this encoded version "{version}"'
        )
    return Continuation(revision, start.removesuffix("\0"))
