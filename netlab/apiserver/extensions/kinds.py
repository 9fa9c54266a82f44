"""PURE. From CustomResourceDefinitions to the resources that are served for them.

Source followed: apiextensions-apiserver `pkg/controller/status/naming_controller.go`, `pkg/apiserver/apiserver.go`
(discovery), apimachinery `pkg/version/helpers.go` (the order of versions).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from netlab.api import meta
from netlab.api.resources import Resource, Subresource
from netlab.api.types import Obj

COLLECTION = "customresourcedefinitions.apiextensions.k8s.io"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""The finalizer that keeps a definition until its objects are gone."""

_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_ENDING_VERBS = tuple(verb for verb in _VERBS if verb != "create")
"""While a definition ends nothing is created; finalizers can still be taken off."""
_SUB_VERBS = ("get", "patch", "update")
_VERSION = re.compile(r"v([1-9]\d*)(?:(alpha|beta)([1-9]\d*))?")


@dataclass(frozen=True)
class CustomResource(Resource):
    """One served version of a custom kind. Equal ones are served alike."""

    schema: Obj = field(default_factory=dict, repr=False)
    """openAPIV3Schema of this version."""
    has_status: bool = False
    scale: Obj | None = None
    conversion: Obj | None = field(default=None, repr=False)
    """The webhook that converts between versions, where there is one."""
    stored_as: CustomResource | None = None
    """The version that is stored, where it is not this one."""

    def __hash__(self) -> int:
        return super().__hash__()

    @property
    def home(self) -> CustomResource:
        """The version in which objects are stored."""
        return self.stored_as or self


def version_order(version: str) -> tuple[int, int, int, str]:
    """Sorts versions by upstream's priority: v10, v2, v1, v11beta2, v3beta1, v12alpha1, then anything else by name."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (stage, -int(match[1]), -int(match[3] or 0), version)


def resources_of(definition: Obj) -> list[CustomResource]:
    """What is served for an accepted definition, the preferred version first."""
    spec = definition["spec"]
    stored = next(_resource(definition, version) for version in spec["versions"] if version.get("storage"))
    found = []
    for version in sorted(spec["versions"], key=lambda one: version_order(one["name"])):
        if version.get("storage") and version.get("served"):
            found.append(stored)
        elif version.get("served"):
            found.append(_resource(definition, version, stored))
    return found


def _resource(definition: Obj, version: Obj, stored: CustomResource | None = None) -> CustomResource:
    spec = definition["spec"]
    names, group = spec["names"], spec["group"]
    subresources = version.get("subresources") or {}
    listed: list[Subresource] = []
    if "status" in subresources:
        listed.append(Subresource("status", names["kind"], group, version["name"], _SUB_VERBS))
    if subresources.get("scale"):
        listed.append(Subresource("scale", "Scale", "autoscaling", "v1", _SUB_VERBS))
    return CustomResource(
        group=group,
        version=version["name"],
        kind=names["kind"],
        plural=names["plural"],
        singular=names.get("singular", ""),
        namespaced=spec["scope"] == "Namespaced",
        verbs=_ENDING_VERBS if meta.deleting(definition) else _VERBS,
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=tuple(listed),
        list_kind=names.get("listKind") or f"{names['kind']}List",
        custom=True,
        columns=tuple(version.get("additionalPrinterColumns") or ()),
        deprecated=_deprecated(version, f"{group}/{version['name']} {names['kind']}"),
        selectable=tuple(one["jsonPath"] for one in version.get("selectableFields") or ()),
        schema=(version.get("schema") or {}).get("openAPIV3Schema") or {"x-kubernetes-preserve-unknown-fields": True},
        has_status="status" in subresources,
        scale=subresources.get("scale"),
        conversion=_conversion(spec),
        stored_as=stored,
    )


def _deprecated(version: Obj, what: str) -> str:
    return version.get("deprecationWarning") or f"{what} is deprecated" if version.get("deprecated") else ""


def _conversion(spec: Obj) -> Obj | None:
    given = spec.get("conversion") or {}
    return given.get("webhook") if given.get("strategy") == "Webhook" and len(spec["versions"]) > 1 else None


@dataclass(frozen=True)
class Verdict:
    """Whether the names of a definition are accepted; else upstream's reason and message."""

    reason: str = ""
    message: str = ""

    @property
    def accepted(self) -> bool:
        return not self.reason


def judge(definitions: Iterable[Obj], built_in: Iterable[Resource] = ()) -> dict[str, Verdict]:
    """By name, whether a definition has its names to itself: who was accepted keeps them, then the older one."""
    taken: dict[tuple[str, str], str] = {}
    for resource in built_in:
        for name in (resource.plural, resource.singular, *resource.short_names):
            taken.setdefault((resource.group, name), "built-in")
        taken.setdefault((resource.group, "kind " + resource.kind), "built-in")
    verdicts: dict[str, Verdict] = {}
    for definition in sorted(definitions, key=_seniority):
        owner = meta.name(definition)
        group, names = definition["spec"]["group"], definition["spec"]["names"]
        verdicts[owner] = verdict = _conflict(names, group, taken)
        if verdict.accepted:
            for _, name in _claims(names):
                taken[group, name] = owner
    return verdicts


def _seniority(definition: Obj) -> tuple[bool, str, str]:
    accepted = meta.condition(definition, "NamesAccepted")
    return (
        not (accepted and accepted.get("status") == "True"),
        definition["metadata"].get("creationTimestamp", ""),
        meta.name(definition),
    )


def _claims(names: Obj) -> list[tuple[str, str]]:
    found = [("PluralConflict", names["plural"])]
    if names.get("singular"):
        found.append(("SingularConflict", names["singular"]))
    found += [("ShortNamesConflict", name) for name in names.get("shortNames") or ()]
    found.append(("KindConflict", "kind " + names["kind"]))
    if names.get("listKind"):
        found.append(("ListKindConflict", "kind " + names["listKind"]))
    return found


def _conflict(names: Obj, group: str, taken: dict[tuple[str, str], str]) -> Verdict:
    # of several conflicts the last one is told, as upstream
    for reason, name in reversed(_claims(names)):
        if (group, name) in taken:
            return Verdict(reason, f'"{name.removeprefix("kind ")}" is already in use')
    return Verdict()


def with_conditions(definition: Obj, verdict: Verdict, now: str) -> Obj:
    """The status of a definition after its names were judged."""
    status = {**definition.get("status", {})}
    before = {one["type"]: one for one in status.get("conditions") or ()}
    established = (before.get("Established") or {}).get("status") == "True"
    if verdict.accepted:
        status["acceptedNames"] = {**definition["spec"]["names"]}
        wanted = [
            ("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
            ("Established", "True", "InitialNamesAccepted", "the initial names have been accepted"),
        ]
    else:
        wanted = [("NamesAccepted", "False", verdict.reason, verdict.message)]
        if not established:
            wanted.append(("Established", "False", "NotAccepted", "not all names are accepted"))
    status["conditions"] = conditions(before, wanted, now)
    return status


def conditions(before: dict[str, Obj], wanted: Iterable[tuple[str, str, str, str]], now: str) -> list[Obj]:
    """`before` with (type, status, reason, message) set; the time moves only when a status does."""
    found = dict(before)
    for kind, value, reason, message in wanted:
        known = found.get(kind)
        moved = known["lastTransitionTime"] if known and known["status"] == value else now
        found[kind] = {
            "type": kind,
            "status": value,
            "lastTransitionTime": moved,
            "reason": reason,
            "message": message,
        }
    return list(found.values())


def begin_ending(definition: Obj, now: str) -> None:
    """Mark a definition that is deleted for the first time: its objects go first. In place."""
    metadata = definition["metadata"]
    if CLEANUP not in (metadata.get("finalizers") or ()) and not meta.deleting(definition):
        metadata["finalizers"] = [*(metadata.get("finalizers") or ()), CLEANUP]
        set_terminating(definition, "True", "InstanceDeletionPending", _PENDING, now)


_PENDING = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"


def set_terminating(definition: Obj, value: str, reason: str, message: str, now: str) -> None:
    """Set the condition Terminating, in place."""
    status = definition.setdefault("status", {})
    before = {one["type"]: one for one in status.get("conditions") or ()}
    status["conditions"] = conditions(before, [("Terminating", value, reason, message)], now)
