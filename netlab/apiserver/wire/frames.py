"""Frames of a watch: one JSON document a line, each line one HTTP chunk, ready for the transport."""

import orjson

from netlab.api.types import Obj


def event_line(kind: str, value: bytes) -> bytes:
    """`value` is the encoded object."""
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), value)


def chunk(line: bytes) -> bytes:
    """RFC 9112 section 7.1."""
    return b"%x\r\n%b\r\n" % (len(line), line)


LAST_CHUNK = b"0\r\n\r\n"


def bookmark_value(api_version: str, kind: str, revision: int, initial_end: bool) -> bytes:
    """The object of a bookmark: nothing but its kind and a resourceVersion."""
    metadata: Obj = {"resourceVersion": str(revision), "creationTimestamp": None}
    if initial_end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    return orjson.dumps({"kind": kind, "apiVersion": api_version, "metadata": metadata})


def encode(value: Obj) -> bytes:
    return orjson.dumps(value)
