"""The verbs on Flunders and Fischers over a Keeper: what a request may change, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from netlab.api import errors, fields, labels, meta, patch
from netlab.api.patch import jsonpatch, merge  # noqa: F401 (loaded late otherwise, and a pod has no files of ours)
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.wardle import objects
from netlab.wardle.keeping import ChangedError, Keeper, key_of

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Place:
    """What a path is about: one object, or (`name` empty) a collection, of all namespaces where it names none."""

    resource: Resource
    namespace: str = ""
    name: str = ""

    @property
    def key(self) -> str:
        return key_of(self.resource.plural, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of a collection, by the query's selectors."""

    by_label: labels.Selector
    by_field: fields.FieldSelector

    @classmethod
    def of(cls, resource: Resource, query: dict[str, str]) -> Selection:
        return cls(
            labels.parse_selector(query.get("labelSelector", "")),
            fields.parse_field_selector(query.get("fieldSelector", ""), resource),
        )

    def takes(self, obj: Obj) -> bool:
        return self.by_label.matches(meta.labels(obj)) and self.by_field.matches(obj)


class Verbs:
    """All raise StatusError."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper

    async def get(self, place: Place) -> Obj:
        return objects.converted(await self._stored(place), place.resource.version)

    async def select(self, place: Place, query: dict[str, str]) -> tuple[list[Obj], str]:
        """(the selected objects, the revision of the list)."""
        selection = Selection.of(place.resource, query)
        found, revision = await self.keeper.list(place.key)
        return [objects.converted(one, place.resource.version) for one in found if selection.takes(one)], revision

    async def create(self, place: Place, obj: Obj) -> Obj:
        resource = place.resource
        self._identified(place, obj)
        metadata = dict(obj["metadata"])
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                text = "name or generateName is required"
                cause = errors.cause("FieldValueRequired", "metadata.name", f"Required value: {text}")
                raise errors.invalid(resource.kind, "", [cause], group=resource.group)
            metadata["name"] = meta.generate_name(metadata["generateName"])
        metadata |= {"uid": meta.new_uid(), "creationTimestamp": meta.now_rfc3339()}
        if resource.namespaced:
            metadata["namespace"] = place.namespace
        full = objects.defaulted({**obj, "metadata": metadata}, resource.version)
        if resource.kind == "Flunder":
            objects.validate(full)
            fischers, _ = await self.keeper.list(key_of("fischers"))
            if objects.banned(meta.name(full), fischers):
                why = "this name may not be used, please change the resource name"
                raise errors.forbidden(resource, meta.name(full), why)
        where = key_of(resource.plural, place.namespace, meta.name(full))
        try:
            written = await self.keeper.put(where, objects.converted(full, objects.STORED), "0")
        except ChangedError:
            raise errors.already_exists(resource, meta.name(full)) from None
        return objects.converted(written, resource.version)

    async def replace(self, place: Place, obj: Obj) -> Obj:
        self._identified(place, obj)
        asked = obj["metadata"].get("resourceVersion")
        if asked and asked != (await self._stored(place))["metadata"]["resourceVersion"]:
            raise errors.conflict(place.resource, place.name)
        return await self._change(place, lambda current: obj)

    async def patch(self, place: Place, content_type: str, body: bytes) -> Obj:
        document = patch.parse(content_type, body)
        return await self._change(place, lambda now: patch.apply(content_type, document, now, place.resource))

    async def _change(self, place: Place, change: Callable[[Obj], Obj]) -> Obj:
        """The object as `change` makes it of the present one; again where somebody was quicker."""
        resource = place.resource
        for _ in range(_TRIES):
            stored = await self._stored(place)
            current = objects.converted(stored, resource.version)
            new = change(current)
            kept = {key: stored["metadata"].get(key) for key in ("name", "namespace", "uid", "creationTimestamp")}
            metadata = {**new["metadata"], **{key: value for key, value in kept.items() if value}}
            new = objects.defaulted({**new, "metadata": metadata}, resource.version)
            if resource.kind == "Flunder":
                objects.validate(new)
            wanted = objects.converted(new, objects.STORED)
            try:
                written = await self.keeper.put(place.key, wanted, stored["metadata"]["resourceVersion"])
            except ChangedError:
                continue
            return objects.converted(written, resource.version)
        raise errors.conflict(resource, place.name)

    async def delete(self, place: Place) -> Obj:
        for _ in range(_TRIES):
            try:
                return objects.converted(
                    await self.keeper.delete(place.key, await self._stored(place)), place.resource.version
                )
            except ChangedError:
                continue
        raise errors.conflict(place.resource, place.name)

    async def delete_all(self, place: Place, query: dict[str, str]) -> list[Obj]:
        found, _ = await self.select(place, query)
        gone = []
        for one in found:
            try:
                gone.append(await self.delete(Place(place.resource, meta.namespace(one), meta.name(one))))
            except errors.StatusError as error:
                if error.code != 404:
                    raise
        return gone

    async def _stored(self, place: Place) -> Obj:
        found = await self.keeper.get(place.key)
        if found is None:
            raise errors.not_found(place.resource, place.name)
        return found

    def _identified(self, place: Place, obj: Obj) -> None:
        resource = place.resource
        obj.setdefault("metadata", {})
        for field, served in (("apiVersion", resource.api_version), ("kind", resource.kind)):
            if obj.setdefault(field, served) != served:
                text = f"{field} in the data ({obj[field]}) does not match the expected {field} ({served})"
                raise errors.bad_request(f"the {text}")
        if obj["metadata"].get("namespace", place.namespace) != place.namespace:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        if place.name and obj["metadata"].setdefault("name", place.name) != place.name:
            raise errors.bad_request(
                f"the name of the object ({obj['metadata']['name']}) does not match the name on the URL ({place.name})"
            )
