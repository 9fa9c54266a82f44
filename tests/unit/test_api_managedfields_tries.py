"""The quick way of ordinary writes says what the sets of paths say."""

from pathlib import Path

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from netlab.api import schema
from netlab.api.managedfields import FieldSet, from_fields_v1, managers, to_fields_v1, tries, typed
from netlab.api.resources import get
from netlab.api.types import Obj

_DATA = Path(__file__).parents[1] / "golden" / "data" / "api_managedfields.jsonl"
OBJECTS: list[Obj] = [orjson.loads(line)["obj"] for line in _DATA.read_bytes().splitlines()]


def _sets(trie: Obj | None) -> FieldSet:
    return from_fields_v1(trie) if trie else frozenset()


def test_two_objects_differ_in_the_same_fields() -> None:
    for old in OBJECTS:
        shape = schema.for_kind(old["apiVersion"], old["kind"])
        assert shape is not None
        for new in OBJECTS:
            if new["kind"] != old["kind"]:
                continue
            told = typed.compare(shape, old, new)
            taken, removed = tries.fields(shape, old, new)
            assert _sets(taken) == told.added | told.modified
            assert _sets(removed) == told.removed


PATHS = st.frozensets(st.lists(st.sampled_from(["f:a", "f:b", 'k:{"n":1}']), min_size=1, max_size=3).map(tuple))


@settings(max_examples=200, deadline=None)
@given(one=PATHS, other=PATHS)
def test_property_tries_are_joined_and_parted_as_sets(one: FieldSet, other: FieldSet) -> None:
    left, right = to_fields_v1(one), to_fields_v1(other)
    if one and other:
        assert _sets(tries.plus(left, right)) == one | other
        assert tries.plus(left, right) == to_fields_v1(one | other)
        kept = tries.minus(left, right)
        assert _sets(kept) == one - other
        assert kept is None if one <= other else kept == to_fields_v1(one - other)
    assert (left, right) == (to_fields_v1(one), to_fields_v1(other))


def _pruned(value: object, draw: st.DataObject) -> object:
    """Some of the fields, some of them emptied."""
    if isinstance(value, dict):
        kept = {key: _pruned(one, draw) for key, one in value.items() if draw.draw(st.integers(0, 9))}
        return kept if draw.draw(st.integers(0, 9)) else {}
    if isinstance(value, list):
        return value if draw.draw(st.integers(0, 9)) else []
    return value


@settings(max_examples=300, deadline=None)
@given(whole=st.sampled_from(OBJECTS), draw=st.data())
def test_property_a_creator_owns_what_differs_from_the_empty_object(whole: Obj, draw: st.DataObject) -> None:
    made = _pruned(whole, draw)
    assert isinstance(made, dict)
    made["metadata"] = made.get("metadata") or {}
    resource, shape = get(whole["apiVersion"], whole["kind"]), schema.for_kind(whole["apiVersion"], whole["kind"])
    assert shape is not None
    for subresource in ("", "status"):
        ignored = managers._reset_names(resource, subresource)
        before = managers._ownable(managers._zero(resource), ignored)
        told = tries.fields(shape, before, managers._ownable(made, ignored))[0]
        found = managers._creation(shape, resource, subresource)(made)
        assert orjson.dumps(found) == orjson.dumps(told)
