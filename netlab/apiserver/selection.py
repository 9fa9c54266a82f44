"""Which objects a list, watch or deletecollection is about: namespace, label selector, field selector.

What selectors read of an object is kept with its item, so that a thousand selective watchers decode it once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from netlab.api import errors, fields, labels
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.apiserver.conversion import convert
from netlab.apiserver.storage import Stored, load
from netlab.store import Item

INDEXED = ("metadata.name", "spec.nodeName")
"""Fields that many watchers pin, one value each: a kubelet its own pods, `wait` and mounts one object."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Equal selections select the same; `resource` is the version that field selectors are read in."""

    resource: Resource
    namespace: str
    labels: labels.Selector
    fields: fields.FieldSelector

    @property
    def all(self) -> bool:
        """Whether nothing but the namespace is asked for."""
        return self.labels.empty and self.fields.empty

    def matches(self, item: Item, stored: Stored) -> bool:
        """Labels and fields only; the namespace is in the key."""
        if not self.labels.empty and not self.labels.matches(attributes(item, stored, self.resource)[0]):
            return False
        if self.fields.empty:
            return True
        found = attributes(item, stored, self.resource)[1]
        return all((found[term.field] == term.value) != term.negated for term in self.fields.terms)


@lru_cache(maxsize=1024)
def parse(resource: Resource, namespace: str, label_text: str, field_text: str) -> Selection:
    """Raises StatusError 400 with upstream's messages."""
    try:
        namespace = namespace if resource.namespaced else ""
        wanted = labels.parse_selector(label_text)
        chosen = fields.parse_field_selector(field_text, resource)
    except (labels.SelectorError, fields.FieldSelectorError) as error:
        raise errors.bad_request(str(error)) from None
    if namespace and chosen.requires("metadata.namespace") not in (None, namespace):
        wanted = labels.NOTHING
    known = wanted_fields(resource)
    for term in chosen.terms:
        known.setdefault(term.field, term.read)
    return Selection(resource, namespace, wanted, chosen)


def attributes(item: Item, stored: Stored, resource: Resource) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """(labels, those selectable fields that anybody selects on) of an item, read once."""
    known: tuple[Mapping[str, str], Mapping[str, str]] | None = item.cache.get(("attributes", resource.api_version))
    if known is not None and len(known[1]) == len(wanted_fields(resource)):
        return known
    return note_attributes(item, stored, resource, load(item, stored))


def note_attributes(
    item: Item, stored: Stored, resource: Resource, obj: Obj
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Keep what selectors read with the item; `obj` is its decoded value, in the stored version."""
    shown = convert(obj, stored.resource, resource)
    found = (
        (obj.get("metadata") or {}).get("labels") or {},
        {name: read(shown) for name, read in wanted_fields(resource).items()},
    )
    item.cache[("attributes", resource.api_version)] = found
    return found


@lru_cache(maxsize=512)
def wanted_fields(resource: Resource) -> dict[str, fields.Getter]:
    """The fields that some selector has named so far (it only grows), and those that watches are found by."""
    supported = fields.supported(resource)
    return {name: supported[name] for name in INDEXED if name in supported}
