"""Object metadata: names, keys, owners, conditions, times. Works on plain dicts; what is missing reads as empty."""

import math
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from netlab.api.types import Obj

Clock = Callable[[], float]
"""Seconds since the epoch."""


def metadata(obj: Obj) -> Obj:
    """The object's metadata, put there when missing."""
    found: Obj = obj.setdefault("metadata", {})
    return found


def name(obj: Obj) -> str:
    """metadata.name, "" when missing."""
    return str((obj.get("metadata") or {}).get("name") or "")


def namespace(obj: Obj) -> str:
    """metadata.namespace, "" for cluster-scoped objects."""
    return str((obj.get("metadata") or {}).get("namespace") or "")


def key(obj: Obj) -> str:
    """`namespace/name`, or `name` for cluster-scoped objects: how informers and queues name an object."""
    return join_key(namespace(obj), name(obj))


def join_key(in_namespace: str, its_name: str) -> str:
    """The key of an object that is not at hand."""
    return f"{in_namespace}/{its_name}" if in_namespace else its_name


def split_key(object_key: str) -> tuple[str, str]:
    """(namespace, name) of a key; namespace is "" for cluster-scoped objects."""
    before, slash, after = object_key.partition("/")
    return (before, after) if slash else ("", before)


def uid(obj: Obj) -> str:
    """metadata.uid, "" when missing."""
    return str((obj.get("metadata") or {}).get("uid") or "")


def resource_version(obj: Obj) -> str:
    """metadata.resourceVersion, "" when missing."""
    return str((obj.get("metadata") or {}).get("resourceVersion") or "")


def generation(obj: Obj) -> int:
    """metadata.generation, 0 when missing."""
    return int((obj.get("metadata") or {}).get("generation") or 0)


def labels(obj: Obj) -> dict[str, str]:
    """metadata.labels, {} when missing (do not write into it: use `metadata`)."""
    return (obj.get("metadata") or {}).get("labels") or {}


def annotations(obj: Obj) -> dict[str, str]:
    """metadata.annotations, {} when missing (do not write into it: use `metadata`)."""
    return (obj.get("metadata") or {}).get("annotations") or {}


def set_label(obj: Obj, label: str, value: str) -> None:
    """Set one label."""
    meta = metadata(obj)
    meta["labels"] = {**(meta.get("labels") or {}), label: value}


def set_annotation(obj: Obj, annotation: str, value: str) -> None:
    """Set one annotation."""
    meta = metadata(obj)
    meta["annotations"] = {**(meta.get("annotations") or {}), annotation: value}


def finalizers(obj: Obj) -> list[str]:
    """metadata.finalizers, [] when missing."""
    return (obj.get("metadata") or {}).get("finalizers") or []


def deleting(obj: Obj) -> bool:
    """True once a deletionTimestamp is set."""
    return bool((obj.get("metadata") or {}).get("deletionTimestamp"))


def owner_references(obj: Obj) -> list[Obj]:
    """metadata.ownerReferences, [] when missing."""
    return (obj.get("metadata") or {}).get("ownerReferences") or []


def controller_of(obj: Obj) -> Obj | None:
    """The owner reference with controller: true, or None."""
    return next((ref for ref in owner_references(obj) if ref.get("controller")), None)


def controlled_by(obj: Obj, owner: Obj) -> bool:
    """True where `owner` (by uid) is the controller of `obj`."""
    ref = controller_of(obj)
    return ref is not None and ref.get("uid") == uid(owner)


def owner_reference(owner: Obj, *, controller: bool = True) -> Obj:
    """A reference to `owner`, blocking its foreground deletion, as upstream's NewControllerRef."""
    ref: Obj = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name(owner),
        "uid": uid(owner),
    }
    if controller:
        ref |= {"controller": True, "blockOwnerDeletion": True}
    return ref


def object_reference(obj: Obj) -> Obj:
    """An ObjectReference, as Events carry in involvedObject."""
    ref: Obj = {"apiVersion": obj.get("apiVersion", ""), "kind": obj.get("kind", ""), "name": name(obj)}
    if namespace(obj):
        ref["namespace"] = namespace(obj)
    if uid(obj):
        ref["uid"] = uid(obj)
    if resource_version(obj):
        ref["resourceVersion"] = resource_version(obj)
    return ref


def get(obj: Any, *path: str | int, default: Any = None) -> Any:
    """The value at a path of keys and indexes; `default` where any step is missing or null."""
    for step in path:
        if isinstance(obj, dict):
            obj = obj.get(step)
        elif isinstance(obj, list) and isinstance(step, int) and -len(obj) <= step < len(obj):
            obj = obj[step]
        else:
            return default
        if obj is None:
            return default
    return obj


def condition(obj: Obj, kind: str) -> Obj | None:
    """The entry of status.conditions with this type, or None."""
    conditions: list[Obj] = get(obj, "status", "conditions", default=[])
    return next((c for c in conditions if c.get("type") == kind), None)


def condition_true(obj: Obj, kind: str) -> bool:
    """True where the condition exists with status "True"."""
    found = condition(obj, kind)
    return found is not None and found.get("status") == "True"


def set_condition(conditions: list[Obj], new: Obj, now: str) -> bool:
    """Add or replace the condition of `new["type"]`, in place; True if anything changed.

    lastTransitionTime moves only when the status does, as upstream's SetStatusCondition.
    """
    for index, old in enumerate(conditions):
        if old.get("type") != new["type"]:
            continue
        moved = old.get("status") != new.get("status")
        merged = {**old, **new, "lastTransitionTime": now if moved else old.get("lastTransitionTime", now)}
        conditions[index] = merged
        return merged != old
    conditions.append({**new, "lastTransitionTime": new.get("lastTransitionTime", now)})
    return True


def now_rfc3339(clock: Clock = time.time) -> str:
    """The time as metav1.Time prints it: whole seconds, UTC, `Z`."""
    return _whole_second(math.floor(clock()))


@lru_cache(maxsize=16)
def _whole_second(seconds: int) -> str:
    return rfc3339(seconds)


def rfc3339(seconds: float) -> str:
    """Seconds since the epoch as metav1.Time."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def now_micro(clock: Clock = time.time) -> str:
    """The time as metav1.MicroTime prints it: six digits of a second (Leases, Events v1)."""
    return rfc3339_micro(clock())


def rfc3339_micro(seconds: float) -> str:
    """Seconds since the epoch as metav1.MicroTime."""
    micros = round(seconds * 1_000_000)
    whole, rest = divmod(micros, 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{rest:06d}Z"


def parse_time(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time with or without a fraction; ValueError if it is none."""
    if text.endswith(("Z", "z")):
        text = text[:-1] + "+00:00"
    head, dot, tail = text.partition(".")
    if dot:  # fromisoformat before 3.11.? takes 3 or 6 digits only; nanoseconds occur in the wild
        digits = len(tail) - len(tail.lstrip("0123456789"))
        text = f"{head}.{tail[:digits][:6]:0<6}{tail[digits:]}"
    parsed = datetime.fromisoformat(text)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


_UID_VARIANT = "89ab"
_random: list[str] = []
"""Random bytes in hexadecimal, 16 each, asked of the kernel many at once; a forked process begins without."""
os.register_at_fork(after_in_child=_random.clear)


def _random_hex() -> str:
    if not _random:
        more = os.urandom(16 * 64).hex()
        _random.extend(more[at : at + 32] for at in range(0, len(more), 32))
    return _random.pop()


def new_uid() -> str:
    """A random (version 4) UUID, 10 times as quick as the uuid module."""
    text = _random_hex()
    variant = _UID_VARIANT[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
MAX_GENERATED_NAME = 63


def generate_name(base: str, randrange: Callable[[int], int] | None = None) -> str:
    """`base` and five random characters, as upstream's name generator (no vowels, no confusable digits)."""
    if randrange is not None:
        places = [randrange(len(_SUFFIX_ALPHABET)) for _ in range(5)]
    else:
        drawn, places = int(_random_hex(), 16), []
        for _ in range(5):
            drawn, place = divmod(drawn, len(_SUFFIX_ALPHABET))
            places.append(place)
    return base[: MAX_GENERATED_NAME - 5] + "".join([_SUFFIX_ALPHABET[place] for place in places])
