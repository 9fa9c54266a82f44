"""PURE. Pod templates of a Deployment: their hash and their equality.

Upstream hashes Go's dump of the struct; here it is the canonical JSON, with the same function and the same alphabet, so
that names look the same (the value differs, and nothing depends on it).
"""

from __future__ import annotations

import json

from netlab.api.types import Obj

HASH_LABEL = "pod-template-hash"
ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def fnv32a(data: bytes) -> int:
    """The 32-bit FNV-1a hash."""
    value = 0x811C9DC5
    for byte in data:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def safe_encode(text: str) -> str:
    """Characters that make no words (apimachinery rand.SafeEncodeString)."""
    return "".join(ALPHABET[ord(char) % len(ALPHABET)] for char in text)


def template_hash(template: Obj, collisions: int | None) -> str:
    """The pod-template-hash of a template, given how often a name was already taken by a different one."""
    data = json.dumps(template, sort_keys=True, separators=(",", ":")).encode()
    if collisions is not None:
        data += collisions.to_bytes(8, "little", signed=True)
    return safe_encode(str(fnv32a(data)))


def same_template(one: Obj, other: Obj) -> bool:
    """Equal but for the hash label (upstream's EqualIgnoreHash)."""
    return _bare(one) == _bare(other)


def _bare(template: Obj) -> Obj:
    data = {k: v for k, v in (template.get("metadata") or {}).items() if v and k != "creationTimestamp"}
    labels = {k: v for k, v in (data.pop("labels", None) or {}).items() if k != HASH_LABEL}
    return {"metadata": {**data, "labels": labels}, "spec": template.get("spec") or {}}
