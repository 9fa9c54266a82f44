"""managedFields entries: reading, updating, applying, writing.

A manager is told apart by name, operation, subresource and (for Update) apiVersion. Its entry's time moves when it
changes something.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import orjson

from netlab.api import meta
from netlab.api import schema as schemas
from netlab.api.errors import StatusError, apply_conflict, bad_request, cause, quote
from netlab.api.managedfields import lastapplied, tries, typed
from netlab.api.managedfields.creation import Creation, creation
from netlab.api.managedfields.sets import EMPTY, FieldSet, Path, field, from_fields_v1, show, to_fields_v1, within
from netlab.api.resources import Resource
from netlab.api.schema import Schema
from netlab.api.types import Obj, clone

MAX_UPDATE_MANAGERS = 10
"""More than that many managers by Update are folded into one, as upstream does."""
ANCIENT = "ancient-changes"
BEFORE_FIRST_APPLY = "before-first-apply"

_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"

_SYSTEM_METADATA = frozenset(
    {
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    }
)
_POD_SPEC_ZERO: Obj = {"containers": None}
"""The spec of an empty pod as Go writes it."""
_SYSTEM_FIELDS = frozenset({"apiVersion", "kind"})
_SYSTEM: FieldSet = frozenset(
    {field("apiVersion"), field("kind"), field("metadata")} | {field("metadata", name) for name in _SYSTEM_METADATA}
)


@dataclass(frozen=True, slots=True)
class Key:
    """Who: an Apply entry has no apiVersion here, because a manager applies only one configuration."""

    manager: str
    operation: str
    subresource: str = ""
    api_version: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a manager owns, in which version it said so, and when; `trie` is its FieldsV1 where that is known."""

    fields: FieldSet
    api_version: str
    time: str
    trie: Obj | None = None


Managers = dict[Key, Entry]


def decode(entries: Sequence[Obj] | None) -> Managers:
    """The managers in metadata.managedFields. Raises ValueError for entries that are none."""
    found: Managers = {}
    for entry in entries or ():
        _check_entry(entry)
        operation = entry["operation"]
        version = entry.get("apiVersion", "")
        key = Key(
            entry.get("manager", ""),
            operation,
            entry.get("subresource", ""),
            "" if operation == "Apply" else version,
        )
        trie = entry.get("fieldsV1") or {}
        found[key] = Entry(from_fields_v1(trie), version, entry.get("time") or "", trie)
    return found


def encode(managers: Managers) -> list[Obj]:
    """metadata.managedFields: Apply before Update, then by time and name."""
    written = []
    for key, entry in managers.items():
        trie = to_fields_v1(entry.fields) if entry.trie is None else entry.trie
        made = _entry(key.manager, key.subresource, entry.api_version, entry.time, trie, operation=key.operation)
        written.append(made)
    return sorted(written, key=_order)


def _reset(resource: Resource, subresource: str) -> tuple[Path, ...]:
    """Fields that a write through this endpoint does not change, whatever the body says."""
    if subresource == "status":
        return (field("spec"),)
    return (field("status"),) if resource.subresource("status") else ()


def _schema(resource: Resource, schema: Schema | None) -> Schema | None:
    return schema or schemas.for_kind(resource.api_version, resource.kind)


@lru_cache(maxsize=256)
def _zero(resource: Resource) -> Obj:
    """What Go writes for a new, empty object of this kind: creation is compared with that. Only read."""
    if resource.custom:
        return {}
    from netlab.api import gotypes
    from netlab.api.gotypes import fast

    name = gotypes.type_name(resource.api_version, resource.kind)
    return fast.zero(name)() if gotypes.is_struct(name) else {}


def update(
    live: Obj | None,
    new: Obj,
    resource: Resource,
    manager: str,
    now: str,
    *,
    subresource: str = "",
    schema: Schema | None = None,
) -> None:
    """Set `new`'s managedFields, in place, for an ordinary write of `new` (defaulted) over `live` (None: a creation).

    Never fails: what cannot be seen through the schema leaves the managers as they were, as upstream's UpdateNoErrors.
    """
    shape = _schema(resource, schema)
    if shape is None:
        return
    metadata = meta.metadata(new)
    given = metadata.pop("managedFields", None)
    if given is not None and given in ([], [{}]):
        return  # the client clears all ownership
    try:
        if live is None and not given:
            taken = _creation(shape, resource, subresource)(_converted(new, resource))
            if taken:
                metadata["managedFields"] = [_entry(manager, subresource, resource.api_version, now, taken)]
            return
        entries, before = _entries(given, live), _zero(resource) if live is None else live
        taken, removed = _changes(shape, before, _converted(new, resource), _reset_names(resource, subresource))
    except (ValueError, TypeError):
        _put(new, (live or {}).get("metadata", {}).get("managedFields"))
        return
    if removed or (taken and entries):
        lost = tries.plus(removed, taken) if removed and taken else removed or taken or {}
        entries = _left(entries, lost)
    if taken:
        entries = _taken(entries, Key(manager, "Update", subresource, resource.api_version), taken, now)
        if sum(entry["operation"] == "Update" for entry in entries) > MAX_UPDATE_MANAGERS:
            entries = encode(_capped(decode(entries)))
    _put(new, sorted(entries, key=_order) if len(entries) > 1 else entries)


@lru_cache(maxsize=512)
def _reset_names(resource: Resource, subresource: str) -> frozenset[str]:
    return _SYSTEM_FIELDS | {path[0].removeprefix("f:") for path in _reset(resource, subresource)}


def _changes(shape: Schema, before: Obj, new: Obj, ignored: frozenset[str]) -> tuple[Obj | None, Obj | None]:
    """Tries of what was added or modified, and of what was removed; system fields and `ignored` ones left out."""
    return tries.fields(shape, _ownable(before, ignored), _ownable(new, ignored))


@lru_cache(maxsize=512)
def _creation(shape: Schema, resource: Resource, subresource: str) -> Creation:
    """What whoever creates an object of this kind owns of it."""
    zero = _zero(resource)
    own = {"metadata": creation(shape.properties["metadata"], {}, _SYSTEM_METADATA)}
    if resource.plural == "pods" and zero.get("spec") == _POD_SPEC_ZERO:
        own["spec"] = lambda spec: _created_spec(shape, orjson.dumps(spec))
    return creation(shape, zero, _reset_names(resource, subresource), own)


@lru_cache(maxsize=64)
def _created_spec(shape: Schema, text: bytes) -> Obj | None:
    """What is new in a pod's spec; many have the same: those of a workload."""
    return tries.changes(shape.field("spec"), _POD_SPEC_ZERO, orjson.loads(text))[0]


def _ownable(obj: Obj, ignored: frozenset[str]) -> Obj:
    part = {key: value for key, value in obj.items() if key not in ignored}
    metadata = obj.get("metadata") or {}
    part["metadata"] = {key: value for key, value in metadata.items() if key not in _SYSTEM_METADATA}
    return part


def _entries(given: Any, live: Obj | None) -> list[Obj]:
    """The entries that the client sent, or those of the live object. Raises ValueError for entries that are none."""
    found: list[Obj] = (live or {}).get("metadata", {}).get("managedFields") or []
    if given and given != found:
        try:
            decode(given)
            return list(given)
        except ValueError:
            pass
    for entry in found:
        _check_entry(entry)
    return found


def _check_entry(entry: Obj) -> None:
    operation = entry.get("operation")
    if operation not in ("Apply", "Update") or entry.get("fieldsType", "FieldsV1") != "FieldsV1":
        raise ValueError(f"managedFields entry of operation {operation!r}")


def _left(entries: list[Obj], lost: Obj) -> list[Obj]:
    """Every entry but for the fields that are lost to it; entries of nothing are gone."""
    left = []
    for entry in entries:
        own = entry.get("fieldsV1") or {}
        kept = tries.minus(own, lost) if own else own
        if kept is own:
            left.append(entry)
        elif kept is not None:
            left.append({**entry, "fieldsV1": kept})
    return left


def _taken(entries: list[Obj], key: Key, taken: Obj, now: str) -> list[Obj]:
    """The entries, that of `key` with what it took."""
    others = []
    for entry in entries:
        if (
            entry["operation"] == key.operation
            and entry.get("manager", "") == key.manager
            and entry.get("subresource", "") == key.subresource
            and entry.get("apiVersion", "") == key.api_version
        ):
            if entry.get("fieldsV1"):
                taken = tries.plus(entry["fieldsV1"], taken)
        else:
            others.append(entry)
    return [*others, _entry(key.manager, key.subresource, key.api_version, now, taken)]


def _entry(manager: str, subresource: str, api_version: str, time: str, trie: Obj, *, operation: str = "Update") -> Obj:
    one: Obj = {"manager": manager, "operation": operation, "apiVersion": api_version}
    if time:
        one["time"] = time
    one["fieldsType"], one["fieldsV1"] = "FieldsV1", trie
    if subresource:
        one["subresource"] = subresource
    return one


def _order(entry: Obj) -> tuple[str, ...]:
    """Apply before Update, then by time and name."""
    return (
        entry["operation"],
        entry.get("time", ""),
        entry.get("manager", ""),
        entry.get("apiVersion", ""),
        entry.get("subresource", ""),
    )


def _comparable(obj: Obj) -> Obj:
    metadata = obj.get("metadata") or {}
    if "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}


def _converted(obj: Obj, resource: Resource) -> Obj:
    """What conversion from upstream's internal type adds: the generation of a DaemonSet's template, an annotation."""
    if resource.plural != "daemonsets" or resource.group != "apps" or _TEMPLATE_GENERATION in meta.annotations(obj):
        return obj
    metadata = obj.get("metadata") or {}
    annotations = {**(metadata.get("annotations") or {}), _TEMPLATE_GENERATION: "0"}
    return {**obj, "metadata": {**metadata, "annotations": annotations}}


def _put(obj: Obj, entries: list[Obj] | None) -> None:
    metadata = meta.metadata(obj)
    if entries:
        metadata["managedFields"] = entries
    else:
        metadata.pop("managedFields", None)


def _without(managers: Managers, lost: FieldSet) -> Managers:
    """Every manager but for the fields that are lost to it; managers of nothing are gone."""
    left = {}
    for key, entry in managers.items():
        fields = entry.fields - lost
        if len(fields) == len(entry.fields):
            left[key] = entry
        elif fields:
            left[key] = replace(entry, fields=fields, trie=None)
    return left


def _capped(managers: Managers) -> Managers:
    updates = sorted((k for k in managers if k.operation == "Update"), key=lambda k: managers[k].time)
    surplus = updates[: max(0, len(updates) - MAX_UPDATE_MANAGERS)]
    if not surplus:
        return managers
    folded = updates[: len(surplus) + 1]
    newest = managers[folded[-1]]
    fields = frozenset().union(*(managers[key].fields for key in folded))
    kept = {key: entry for key, entry in managers.items() if key not in folded}
    kept[Key(ANCIENT, "Update", "", newest.api_version)] = replace(newest, fields=fields, trie=None)
    return kept


def same_but_times(live: Obj, new: Obj) -> bool:
    """Whether a write (decoded and defaulted) changes nothing but times of managedFields: then `live` stays."""
    old_entries = live.get("metadata", {}).get("managedFields") or []
    new_entries = new.get("metadata", {}).get("managedFields") or []
    if len(old_entries) != len(new_entries) or _comparable(live) != _comparable(new):
        return False
    return all(
        {**old, "time": ""} == {**fresh, "time": ""} for old, fresh in zip(old_entries, new_entries, strict=True)
    )


def apply(
    live: Obj | None,
    config: Obj,
    resource: Resource,
    manager: str,
    now: str,
    *,
    force: bool = False,
    subresource: str = "",
    schema: Schema | None = None,
) -> Obj:
    """Server-side apply: the new object (not defaulted) with its managedFields. `live` is None for a creation.

    Where nothing changes, the object equals `live` and so do its managedFields' times. Raises StatusError 400 for a
    configuration that is not valid and 409 (FieldManagerConflict causes) for fields that others own, unless forced.
    """
    shape = _schema(resource, schema)
    if shape is None:
        raise bad_request(f"no schema is known for {resource.api_version}, Kind={resource.kind}")
    if (config.get("metadata") or {}).get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    try:
        typed.check(shape, config)
        return _apply(live, config, resource, Key(manager, "Apply", subresource), now, force, shape)
    except (ValueError, TypeError) as error:
        raise bad_request(f"failed to create typed patch object ({_describe(config, resource)}): {error}") from None


def _describe(config: Obj, resource: Resource) -> str:
    where = f"{meta.namespace(config)}/{meta.name(config)}"
    group_version = resource.api_version
    return f"{where}; {group_version}, Kind={resource.kind}"


def _apply(live: Obj | None, config: Obj, resource: Resource, key: Key, now: str, force: bool, shape: Schema) -> Obj:
    managers = decode((live or {}).get("metadata", {}).get("managedFields"))
    before = _comparable(live) if live is not None else {}
    ignored = _reset(resource, key.subresource)
    of_kubectl = live is not None and key.manager == lastapplied.MANAGER
    if live is not None and not managers:
        owned = typed.field_set(shape, before) - _SYSTEM
        if owned:
            before_apply = Key(BEFORE_FIRST_APPLY, "Update", "", resource.api_version)
            managers[before_apply] = Entry(owned, resource.api_version, now)
    last = managers.get(key)
    wanted = typed.field_set(shape, config)
    wanted -= within(wanted, ignored)
    merged = typed.merge(shape, before, config)
    managers[key] = Entry(wanted, resource.api_version, now)
    if last is not None:
        merged = _pruned(shape, merged, managers, last.fields)
    changed = typed.compare(shape, before, merged)
    touched = frozenset(changed.added | changed.modified)
    touched -= within(touched, ignored)
    others = {other: entry for other, entry in managers.items() if other != key}
    if not force:
        _refuse_conflicts(others, touched, lastapplied.allowed_conflicts(shape, before) if of_kubectl else EMPTY)
    left = _without(others, touched | frozenset(changed.removed))
    own = wanted - _SYSTEM
    same = live is not None and changed.same and last is not None and last.fields == own
    if own:
        left[key] = Entry(own, resource.api_version, last.time if same and last is not None else now)
    result: Obj = clone(merged)
    if of_kubectl:
        lastapplied.follow(result, config)
    _put(result, encode(_capped(left)))
    return result


def _refuse_conflicts(others: Managers, touched: FieldSet, allowed: FieldSet) -> None:
    disputed = {key: (entry.fields & touched) - allowed for key, entry in others.items()}
    conflicts = {key: fields for key, fields in disputed.items() if fields}
    if conflicts:
        raise _conflict(conflicts, others)


def _pruned(shape: Schema, merged: Obj, managers: Managers, last: FieldSet) -> Obj:
    """`merged` without what its manager applied last time and nobody wants any more."""

    def named(paths: FieldSet) -> FieldSet:
        return typed.with_named_parents(shape, paths)

    pruned = typed.remove(shape, merged, named(last)) or {}
    merged_set = typed.field_set(shape, merged)
    owned = frozenset().union(*(entry.fields for entry in managers.values()))
    kept = named(typed.field_set(shape, pruned)) | named(owned)
    pruned = typed.remove(shape, merged, named(merged_set) - kept) or {}
    gone = named(merged_set) - named(typed.field_set(shape, pruned))
    found: Obj = typed.remove(shape, merged, gone & named(last)) or {}
    return found


def _conflict(conflicts: dict[Key, FieldSet], managers: Managers) -> StatusError:
    causes = []
    for key in sorted(conflicts, key=lambda key: key.manager):
        who = quote(key.manager)
        if key.subresource:
            who += f" with subresource {quote(key.subresource)}"
        if key.operation == "Update":
            who += f" using {managers[key].api_version}"
        causes += [cause("FieldManagerConflict", show(path), f"conflict with {who}") for path in sorted(conflicts[key])]
    return apply_conflict(causes)
