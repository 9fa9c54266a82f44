"""Structural schemas: what is pruned, defaulted, refused, and in which words."""

from typing import Any

import pytest

from netlab.api import meta
from netlab.api.types import Obj
from netlab.apiserver.extensions import kinds, strategy, values
from netlab.apiserver.extensions.kinds import CustomResource

TEXT: Obj = {"type": "string"}
FREE: Obj = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def spec(**properties: Any) -> Obj:
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}


def resource(schema: Obj, **more: Any) -> CustomResource:
    verbs = ("get", "delete")
    return CustomResource(
        "e.com",
        "v1",
        "Widget",
        "widgets",
        "widget",
        True,
        verbs,
        list_kind="WidgetList",
        custom=True,
        schema=schema,
        **more,
    )


def widget(**content: Any) -> Obj:
    metadata = {"name": "w", "namespace": "default"}
    return {"apiVersion": "e.com/v1", "kind": "Widget", "metadata": metadata, "spec": content}


@pytest.mark.parametrize(
    ("schema", "given", "kept", "pruned"),
    [
        (spec(a=TEXT), {"a": "1", "b": 2}, {"a": "1"}, ["spec.b"]),
        (spec(l={"type": "array", "items": {"type": "object", "properties": {"a": TEXT}}}),
         {"l": [{"a": "1", "b": 1}]}, {"l": [{"a": "1"}]}, ["spec.l[0].b"]),
        (spec(m={"type": "object", "additionalProperties": TEXT}), {"m": {"x": "1"}}, {"m": {"x": "1"}}, []),
        (spec(m={"type": "object"}), {"m": {"x": "1"}}, {"m": {}}, ["spec.m.x"]),
        (spec(f=FREE), {"f": {"x": {"y": 1}}, "g": 1}, {"f": {"x": {"y": 1}}}, ["spec.g"]),
        (spec(f={**FREE, "properties": {"known": {"type": "object"}}}),
         {"f": {"known": {"x": 1}, "other": {"x": 1}}}, {"f": {"known": {}, "other": {"x": 1}}}, ["spec.f.known.x"]),
        (spec(e={"type": "object", "x-kubernetes-embedded-resource": True}),
         {"e": {"kind": "K", "metadata": {"name": "n"}, "x": 1}},
         {"e": {"kind": "K", "metadata": {"name": "n"}}}, ["spec.e.x"]),
        (spec(a={**TEXT, "default": "d"}), {}, {"a": "d"}, []),
        (spec(a={**TEXT, "default": "d"}), {"a": None}, {"a": "d"}, []),
        (spec(a={**TEXT, "default": "d", "nullable": True}), {"a": None}, {"a": None}, []),
        (spec(a=TEXT), {"a": None}, {}, []),
        (spec(o={"type": "object", "default": {}, "properties": {"a": {**TEXT, "default": "d"}}}),
         {}, {"o": {"a": "d"}}, []),
        (spec(o={"type": "object", "properties": {"a": {**TEXT, "default": "d"}}}), {}, {}, []),
        (spec(l={"type": "array", "items": {"type": "object", "properties": {"a": {**TEXT, "default": "d"}}}}),
         {"l": [{}]}, {"l": [{"a": "d"}]}, []),
    ],
)  # fmt: skip
def test_pruning_and_defaults(schema: Obj, given: Obj, kept: Obj, pruned: list[str]) -> None:
    obj = widget(**given)
    assert values.complete(obj, resource(schema)) == pruned
    assert obj["spec"] == kept


@pytest.mark.parametrize(
    ("schema", "value", "messages"),
    [
        (TEXT, 1, ['spec.x: Invalid value: "integer": spec.x in body must be of type string: "integer"']),
        ({"type": "integer"}, 1.5,
         ['spec.x: Invalid value: "number": spec.x in body must be of type integer: "number"']),
        ({"type": "number"}, 1, []),
        ({"x-kubernetes-int-or-string": True}, "1", []),
        ({"x-kubernetes-int-or-string": True}, True,
         ['spec.x: Invalid value: "boolean": spec.x in body must be of type integer,string: "boolean"']),
        ({**TEXT, "pattern": "^a+$"}, "b", ["spec.x: Invalid value: \"b\": spec.x in body should match '^a+$'"]),
        ({**TEXT, "maxLength": 1}, "bb", ["spec.x: Too long: may not be more than 1 byte"]),
        ({**TEXT, "minLength": 2}, "b", ['spec.x: Invalid value: "b": spec.x in body should be at least 2 chars long']),
        ({**TEXT, "enum": ["a", "b"]}, "c", ['spec.x: Unsupported value: "c": supported values: "a", "b"']),
        ({"type": "integer", "minimum": 1}, 0,
         ["spec.x: Invalid value: 0: spec.x in body should be greater than or equal to 1"]),
        ({"type": "integer", "maximum": 1, "exclusiveMaximum": True}, 1,
         ["spec.x: Invalid value: 1: spec.x in body should be less than 1"]),
        ({"type": "integer", "multipleOf": 2}, 3,
         ["spec.x: Invalid value: 3: spec.x in body should be a multiple of 2"]),
        ({"type": "array", "items": TEXT, "maxItems": 1}, ["a", "b"],
         ["spec.x: Too many: 2: must have at most 1 item"]),
        ({"type": "array", "items": TEXT, "minItems": 1}, [],
         ["spec.x: Invalid value: 0: spec.x in body should have at least 1 items"]),
        ({"type": "array", "items": TEXT}, [1],
         ['spec.x[0]: Invalid value: "integer": spec.x[0] in body must be of type string: "integer"']),
        ({"type": "object", "required": ["a"]}, {}, ["spec.x.a: Required value"]),
        ({"type": "object", "maxProperties": 1, "additionalProperties": TEXT}, {"a": "", "b": ""},
         ["spec.x: Too many: 2: must have at most 1 item"]),
        ({**TEXT, "format": "date-time"}, "now",
         ['spec.x: Invalid value: "now": spec.x in body must be of type date-time: "now"']),
        ({**TEXT, "format": "date-time"}, "2024-01-02T03:04:05Z", []),
        ({**TEXT, "format": "ipv4"}, "10.0.0.1", []),
        ({**TEXT, "format": "no-such-format"}, "x", []),
        ({**TEXT, "nullable": True}, None, []),
        ({"type": "object", "properties": {"a": TEXT, "b": TEXT}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
         {},
         ['<nil>: Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found none valid',
          "spec.x.a: Required value"]),
        ({"type": "object", "properties": {"a": TEXT}, "not": {"required": ["a"]}}, {"a": ""},
         ['<nil>: Invalid value: "": "spec.x" must not validate the schema (not)']),
    ],
)  # fmt: skip
def test_validation_speaks_as_upstream(schema: Obj, value: Any, messages: list[str]) -> None:
    found = strategy.validate_new(widget(x=value), resource(spec(x=schema)))
    assert [one.message for one in found] == messages


LIST: Obj = {"type": "array", "items": {"type": "object", "properties": {"name": TEXT, "v": TEXT}}}


@pytest.mark.parametrize(
    ("schema", "value", "messages"),
    [
        ({"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"}, ["a", "b", "a"],
         ['spec.x[2]: Duplicate value: "a"']),
        ({**LIST, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
         [{"name": "a", "v": "1"}, {"name": "a", "v": "2"}],
         ['spec.x[1]: Duplicate value: map[string]interface {}{"name":"a"}']),
        (LIST, [{"name": "a"}, {"name": "a"}], []),
        ({**FREE, "x-kubernetes-embedded-resource": True}, {"kind": "K"},
         ["spec.x.apiVersion: Required value: must not be empty"]),
    ],
)  # fmt: skip
def test_list_types_and_embedded_objects(schema: Obj, value: Any, messages: list[str]) -> None:
    found = strategy.validate_new(widget(x=value), resource(spec(x=schema)))
    assert [one.message for one in found] == messages


def test_the_metadata_of_an_embedded_object_is_of_its_own_type() -> None:
    told = {"name": "a", "namespace": "b", "more": 1}
    kind = resource(spec(x={**FREE, "x-kubernetes-embedded-resource": True}))
    obj = widget(x={"apiVersion": "v1", "kind": "K", "metadata": told, "also": 1})
    assert values.complete(obj, kind) == ["spec.x.metadata.more"]
    assert obj["spec"]["x"] == {"apiVersion": "v1", "kind": "K", "metadata": {"name": "a", "namespace": "b"}, "also": 1}


def test_what_an_update_leaves_alone_is_not_judged_again() -> None:
    kind = resource(spec(x={**TEXT, "maxLength": 1}, y=TEXT))
    old, new = widget(x="too long", y="a"), widget(x="too long", y="b")
    for obj in (old, new):
        obj["metadata"]["resourceVersion"] = "1"
    assert strategy.validate_changed(new, old, kind) == []
    new["spec"]["x"] = "still too long"
    assert len(strategy.validate_changed(new, old, kind)) == 1


def test_rules_are_applied_at_their_place() -> None:
    rules = [{"rule": "self == oldSelf", "message": "is immutable"}, {"rule": "self.size() > 1"}]
    schema = spec(x={**TEXT, "x-kubernetes-validations": rules})
    old, new = widget(x="a"), widget(x="b")
    for obj in (old, new):
        obj["metadata"]["resourceVersion"] = "1"
    found = strategy.validate_changed(new, old, resource(schema))
    assert [one.message for one in found] == [
        'spec.x: Invalid value: "string": is immutable',
        'spec.x: Invalid value: "string": failed rule: self.size() > 1',
    ]


def test_generation_counts_what_is_not_metadata_or_status() -> None:
    kind = resource(spec(x=TEXT), has_status=True)
    old = {**widget(x="a"), "status": {"s": 1}}
    old["metadata"]["generation"] = 3
    for change, expected in (
        ({}, 3),
        ({"status": {"s": 2}}, 3),
        ({"spec": {"x": "b"}}, 4),
        ({"metadata": {**old["metadata"], "labels": {"a": "b"}}}, 3),
    ):
        new = {**old, **change}
        new["metadata"] = {**new["metadata"]}
        strategy.prepare_changed(new, old, kind)
        assert (meta.generation(new), new["status"]) == (expected, {"s": 1})


def test_versions_in_upstream_order() -> None:
    given = ["foo10", "v1", "v3beta1", "v10", "v2", "v12alpha1", "foo1", "v11beta2", "v11alpha2", "v10beta3"]
    expected = ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"]
    assert sorted(given, key=kinds.version_order) == expected


def definition(name: str, created: str, **names: Any) -> Obj:
    spec = {"group": "e.com", "names": {"plural": name, "singular": name[:-1], "kind": name.title(), **names}}
    metadata = {"name": f"{name}.e.com", "creationTimestamp": created}
    return {"metadata": metadata, "spec": spec}


@pytest.mark.parametrize(
    ("second", "reason", "message"),
    [
        ({}, "", ""),
        ({"shortNames": ["foos"]}, "ShortNamesConflict", '"foos" is already in use'),
        ({"kind": "Foos"}, "KindConflict", '"Foos" is already in use'),
        ({"singular": "foo"}, "SingularConflict", '"foo" is already in use'),
    ],
)
def test_who_was_first_keeps_the_name(second: Obj, reason: str, message: str) -> None:
    verdicts = kinds.judge([definition("bars", "2", **second), definition("foos", "1")])
    assert verdicts["foos.e.com"].accepted
    assert verdicts["bars.e.com"] == kinds.Verdict(reason, message)
