# ruff: noqa: E501 - upstream's sentences
"""CEL rules of custom kinds: what a definition may say, and what objects are held to (upstream's sentences)."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from apiserver_harness import Harness, harness

Obj = dict[str, Any]
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
MERGE = {"content-type": "application/merge-patch+json"}
RULES = "x-kubernetes-validations"
TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
SPEC = f"spec.validation.openAPIV3Schema.properties[spec].{RULES}[0]"


def definition(spec: Obj, **schema: Any) -> Obj:
    root = {"type": "object", "properties": {"spec": spec, "status": {"type": "object"}}, **schema}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": root}}
    names = {"plural": "widgets", "kind": "Widget"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }


def spec(*rules: Obj, **properties: Any) -> Obj:
    return {"type": "object", "properties": properties, RULES: list(rules)}


def widget(name: str = "a", **given: Any) -> Obj:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": given}


@contextlib.asynccontextmanager
async def serving(state: Path, wanted: Obj) -> AsyncIterator[Harness]:
    async with harness(state) as api:
        await api.ok("POST", DEFINITIONS, wanted)
        yield api


async def causes(api: Harness, method: str, url: str, body: Obj, **more: Any) -> list[Obj]:
    code, status = await api.call(method, url, body, **more)
    assert code == 422, status
    return list(status["details"]["causes"])


async def test_objects_that_satisfy_the_rules_are_created(tmp_path: Path) -> None:
    rule = {"rule": "self.min <= self.n && self.n <= self.max"}
    async with serving(tmp_path, definition(spec(rule, min=NUMBER, max=NUMBER, n=NUMBER))) as api:
        await api.ok("POST", WIDGETS, widget(min=1, n=2, max=3))


async def test_objects_that_do_not_are_refused_with_causes(tmp_path: Path) -> None:
    rules = (
        {"rule": "self.min <= self.n"},
        {"rule": "self.n <= self.max", "message": "n is too large", "fieldPath": ".n", "reason": "FieldValueForbidden"},
        {"rule": "self.n != 9", "messageExpression": "'n is %d'.format([self.n])"},
    )
    async with serving(tmp_path, definition(spec(*rules, min=NUMBER, max=NUMBER, n=NUMBER))) as api:
        assert await causes(api, "POST", WIDGETS, widget(min=10, n=9, max=3)) == [
            {
                "reason": "FieldValueInvalid",
                "message": 'Invalid value: "object": failed rule: self.min <= self.n',
                "field": "spec",
            },
            {"reason": "FieldValueForbidden", "message": "Forbidden: n is too large", "field": "spec.n"},
            {"reason": "FieldValueInvalid", "message": 'Invalid value: "object": n is 9', "field": "spec"},
        ]
        found = await causes(api, "POST", WIDGETS, widget(min=1, max=3))
        assert found[0]["message"] == 'Invalid value: "object": no such key: n evaluating rule: self.min <= self.n'


async def test_rules_at_every_place(tmp_path: Path) -> None:
    item = {"type": "object", "properties": {"k": TEXT}, RULES: [{"rule": "self.k != 'bad'", "message": "bad k"}]}
    items = {"type": "array", "maxItems": 9, "items": item}
    value = {**TEXT, "maxLength": 9, RULES: [{"rule": "self.startsWith('x')"}]}
    labels = {"type": "object", "maxProperties": 5, "additionalProperties": value}
    every = {"allOf": [{"properties": {"n": {RULES: [{"rule": "self > 0"}]}}}]}
    wanted = {**spec(items=items, labels=labels, n=NUMBER), **every}
    root = {RULES: [{"rule": "self.metadata.name != 'root'", "message": "not that name"}]}
    async with serving(tmp_path, definition(wanted, **root)) as api:
        body = widget("root", items=[{"k": "ok"}, {"k": "bad"}], labels={"a": "y"}, n=0)
        found = {one["field"]: one["message"] for one in await causes(api, "POST", WIDGETS, body)}
        assert found == {
            "<nil>": 'Invalid value: "object": not that name',
            "spec.items[1]": 'Invalid value: "object": bad k',
            "spec.labels[a]": "Invalid value: \"string\": failed rule: self.startsWith('x')",
            "spec.n": 'Invalid value: "integer": failed rule: self > 0',
        }


async def test_rules_wait_until_the_object_is_valid_otherwise(tmp_path: Path) -> None:
    async with serving(tmp_path, definition(spec({"rule": "self.n > 1"}, n=NUMBER))) as api:
        found = await causes(api, "POST", WIDGETS, widget(n="text"))
        assert found[-1]["field"] == "<nil>"
        assert found[-1]["message"] == (
            'Invalid value: "null": some validation rules were not checked because the object was invalid; '
            "correct the existing errors to complete validation"
        )


async def test_transition_rules(tmp_path: Path) -> None:
    fixed = {**TEXT, RULES: [{"rule": "self == oldSelf", "message": "is immutable"}]}
    once = {
        **NUMBER,
        RULES: [{"rule": "oldSelf.hasValue() || self == 1", "optionalOldSelf": True, "message": "starts at 1"}],
    }
    keyed = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"],
        "maxItems": 9,
        "items": {
            "type": "object",
            "required": ["k"],
            "properties": {"k": TEXT, "n": {**NUMBER, RULES: [{"rule": "self >= oldSelf"}]}},
        },
    }
    async with serving(tmp_path, definition(spec(fixed=fixed, once=once, keyed=keyed))) as api:
        assert (await causes(api, "POST", WIDGETS, widget(once=2)))[0]["message"].endswith("starts at 1")
        await api.ok("POST", WIDGETS, widget(fixed="x", once=1, keyed=[{"k": "a", "n": 5}, {"k": "b", "n": 5}]))
        await api.ok("PATCH", f"{WIDGETS}/a", {"spec": {"once": 7}}, headers=MERGE)
        found = await causes(api, "PATCH", f"{WIDGETS}/a", {"spec": {"fixed": "y"}}, headers=MERGE)
        assert found == [
            {"reason": "FieldValueInvalid", "message": 'Invalid value: "string": is immutable', "field": "spec.fixed"}
        ]
        moved = {"spec": {"keyed": [{"k": "b", "n": 6}, {"k": "a", "n": 4}]}}
        found = await causes(api, "PATCH", f"{WIDGETS}/a", moved, headers=MERGE)
        assert [one["field"] for one in found] == ["spec.keyed[1].n"]


async def test_what_was_wrong_before_may_stay(tmp_path: Path) -> None:
    async with serving(tmp_path, definition(spec(a=TEXT, b=TEXT))) as api:
        await api.ok("POST", WIDGETS, widget(a="old", b="x"))
        stricter = definition(spec(a={**TEXT, RULES: [{"rule": "self != 'old'"}]}, b=TEXT))
        await api.ok("PATCH", f"{DEFINITIONS}/widgets.example.com", {"spec": stricter["spec"]}, headers=MERGE)
        await api.ok("PATCH", f"{WIDGETS}/a", {"spec": {"b": "y"}}, headers=MERGE)
        await causes(api, "POST", WIDGETS, widget("n", a="old"))


async def test_formats_sets_and_escaped_names(tmp_path: Path) -> None:
    wanted = spec(
        {"rule": "self.wait < duration('1h') && self.since > timestamp('2020-01-01T00:00:00Z')"},
        {"rule": "self.ratio * 2.0 <= 1.0 && self.two__dash__words == 'x' && self.port == 80"},
        {"rule": "self.tags == ['b', 'a']"},
        wait={"type": "string", "format": "duration"},
        since={"type": "string", "format": "date-time"},
        ratio={"type": "number"},
        port={"x-kubernetes-int-or-string": True},
        tags={"type": "array", "x-kubernetes-list-type": "set", "items": TEXT, "maxItems": 5},
        **{"two-words": TEXT},
    )
    wanted["properties"]["tags"]["items"] = {**TEXT, "maxLength": 5}
    body = {"since": "2021-01-01T00:00:00Z", "ratio": 0, "port": 80, "tags": ["a", "b"], "two-words": "x"}
    async with serving(tmp_path, definition(wanted)) as api:
        await api.ok("POST", WIDGETS, widget(wait="10m", **body))
        assert len(await causes(api, "POST", WIDGETS, widget("b", wait="2h", **body))) == 1


async def test_running_out_of_budget(tmp_path: Path) -> None:
    listed = {"type": "array", "maxItems": 200, "items": NUMBER}
    nested = "self.l.all(a, self.l.all(b, a + b > 0))"
    async with serving(tmp_path, definition(spec({"rule": nested}, l=listed))) as api:
        await api.ok("POST", WIDGETS, widget(l=[1] * 150))
    free = {"type": "array", "maxItems": 600, "items": NUMBER}
    bounded = definition(spec({"rule": nested.replace("self.l", "self.f")}, f=free))
    async with serving(tmp_path / "2", bounded) as api:
        found = await causes(api, "POST", WIDGETS, widget(f=[1] * 599))
        assert found[0]["message"] == (
            "Invalid value: \"object\": 'operation cancelled: actual cost limit exceeded': no further validation rules "
            "will be run due to call cost exceeds limit for rule: self.f.all(a, self.f.all(b, a + b > 0))"
        )


GO = 'apiextensions.ValidationRule{Rule:"%s", Message:"", MessageExpression:"", Reason:(*apiextensions.FieldValueErrorReason)(nil), FieldPath:"", OptionalOldSelf:(*bool)(nil)}'
HINT = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (
            spec({"rule": "self.z"}, n=NUMBER),
            f"{SPEC}.rule: Invalid value: {GO % 'self.z'}: compilation failed: ERROR: <input>:1:5: undefined field 'z'\n"
            " | self.z\n | ....^",
        ),
        (
            spec({"rule": "self = 42"}, n=NUMBER),
            f"{SPEC}.rule: Invalid value: {GO % 'self = 42'}: compilation failed: ERROR: <input>:1:6: Syntax error: "
            "token recognition error at: '= '\n | self = 42\n | .....^",
        ),
        (spec({"rule": "self.n"}, n=NUMBER), "cel expression must evaluate to a bool"),
        (
            spec({"rule": "self.s.all(x, x.contains('gpu'))"}, s={"type": "array", "items": TEXT}),
            f"{SPEC}.rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x {HINT}",
        ),
        (
            spec({"rule": "self.s.all(x, x.contains('gpu'))"}, s={"type": "array", "items": TEXT}),
            "spec.validation.openAPIV3Schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire "
            f"OpenAPIv3 schema exceeds budget by factor of more than 100x {HINT}",
        ),
        (
            spec({"rule": "self.a <= self.b", "messageExpression": "'a is ' + string(self.a)"}, a=NUMBER, b=NUMBER),
            f"{SPEC}.messageExpression: Forbidden: estimated messageExpression cost exceeds budget by factor of more",
        ),
        (spec({"rule": " "}, n=NUMBER), f"{SPEC}.rule: Required value: rule is not specified"),
        (
            spec({"rule": "true", "message": " "}, n=NUMBER),
            f'{SPEC}.message: Invalid value: " ": message must be non-empty if specified',
        ),
        (
            spec({"rule": "true\n&& true"}, n=NUMBER),
            f"{SPEC}.message: Required value: message must be specified if rule contains line breaks",
        ),
        (
            spec({"rule": "true", "reason": "Because"}, n=NUMBER),
            f'{SPEC}.reason: Unsupported value: "Because": supported values: "FieldValueDuplicate", '
            '"FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"',
        ),
        (
            spec({"rule": "true", "fieldPath": ".m"}, n=NUMBER),
            f'{SPEC}.fieldPath: Invalid value: ".m": fieldPath must be a valid path: does not refer to a valid field',
        ),
        (
            spec({"rule": "self.n > 0", "optionalOldSelf": True}, n=NUMBER),
            "optionalOldSelf may not be set if oldSelf is not used in rule",
        ),
        (
            spec(l={"type": "array", "maxItems": 3, "items": {**NUMBER, RULES: [{"rule": "self == oldSelf"}]}}),
            f'spec.validation.openAPIV3Schema.properties[spec].properties[l].items.{RULES}[0].rule: Invalid value: '
            '"self == oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within '
            "spec.validation.openAPIV3Schema.properties[spec].properties[l]",
        ),
        (
            spec({"rule": "self.n > 0", "messageExpression": "self.n"}, n=NUMBER),
            "messageExpression must evaluate to a string",
        ),
    ],
)  # fmt: skip
async def test_what_a_definition_may_not_say(tmp_path: Path, schema: Obj, expected: str) -> None:
    async with harness(tmp_path) as api:
        code, _, message = await api.refused("POST", DEFINITIONS, definition(schema))
        assert code == 422
        assert expected in message


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (
            {"type": "object", "x-kubernetes-map-type": "loose", "properties": {}},
            'x-kubernetes-map-type: Unsupported value: "loose": supported values: "atomic", "granular"',
        ),
        (
            {**TEXT, "x-kubernetes-map-type": "atomic"},
            '.type: Invalid value: "string": must be object if x-kubernetes-map-type is specified',
        ),
        (
            {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": TEXT},
            "must be object if parent array's x-kubernetes-list-type is map",
        ),
        (
            {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": TEXT}},
            },
            "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
        (
            {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object", "properties": {"k": TEXT}}},
            "must be atomic as item of a list with x-kubernetes-list-type=set",
        ),
        (
            {"type": "object", "x-kubernetes-preserve-unknown-fields": False},
            "x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined",
        ),
    ],
)
async def test_what_a_schema_may_not_say(tmp_path: Path, schema: Obj, expected: str) -> None:
    async with harness(tmp_path) as api:
        _, _, message = await api.refused(
            "POST", DEFINITIONS, definition({"type": "object", "properties": {"x": schema}})
        )
        assert expected in message
