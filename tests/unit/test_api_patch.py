"""Patches: strategic merge by upstream's documented cases, merge patch by RFC 7386, JSON patch by RFC 6902."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netlab.api import patch, schema
from netlab.api.errors import StatusError
from netlab.api.patch import merge, strategic
from netlab.api.resources import get
from netlab.api.types import Obj

POD, SERVICE, DEPLOYMENT = get("v1", "Pod"), get("v1", "Service"), get("apps/v1", "Deployment")


def smp(kind: tuple[str, str], current: Obj, change: Obj) -> Obj:
    found = schema.for_kind(*kind)
    assert found is not None
    return strategic.apply(found, current, change)


def containers(*names: str) -> list[Obj]:
    return [{"name": name, "image": name} for name in names]


STRATEGIC: list[tuple[str, Obj, Obj, Obj]] = [
    (
        "a null deletes a key",
        {"metadata": {"labels": {"a": "1", "b": "2"}}},
        {"metadata": {"labels": {"a": None}}},
        {"metadata": {"labels": {"b": "2"}}},
    ),
    (
        "containers merge by name",
        {"spec": {"containers": [{"name": "a", "image": "x", "args": ["1"]}, {"name": "b", "image": "y"}]}},
        {"spec": {"containers": [{"name": "b", "image": "z"}]}},
        {"spec": {"containers": [{"name": "a", "image": "x", "args": ["1"]}, {"name": "b", "image": "z"}]}},
    ),
    (
        "a list without a strategy is replaced",
        {"spec": {"containers": [{"name": "a", "args": ["1", "2"]}]}},
        {"spec": {"containers": [{"name": "a", "args": ["3"]}]}},
        {"spec": {"containers": [{"name": "a", "args": ["3"]}]}},
    ),
    (
        "$patch: delete takes an item out",
        {"spec": {"containers": containers("a", "b")}},
        {"spec": {"containers": [{"name": "a", "$patch": "delete"}]}},
        {"spec": {"containers": containers("b")}},
    ),
    (
        "$patch: replace as an item replaces the list",
        {"spec": {"containers": containers("a", "b")}},
        {"spec": {"containers": [{"$patch": "replace"}, {"name": "c", "image": "c"}]}},
        {"spec": {"containers": containers("c")}},
    ),
    (
        "$patch: replace in an object replaces it",
        {"metadata": {"labels": {"a": "1"}}},
        {"metadata": {"labels": {"$patch": "replace", "b": "2"}}},
        {"metadata": {"labels": {"b": "2"}}},
    ),
    (
        "$patch: delete in an object empties it",
        {"metadata": {"labels": {"a": "1"}}},
        {"metadata": {"labels": {"$patch": "delete"}}},
        {"metadata": {"labels": {}}},
    ),
    (
        "scalars of a merged list are a set",
        {"metadata": {"finalizers": ["a", "b"]}},
        {"metadata": {"finalizers": ["b", "c"]}},
        {"metadata": {"finalizers": ["a", "b", "c"]}},
    ),
    (
        "$deleteFromPrimitiveList takes scalars out",
        {"metadata": {"finalizers": ["a", "b"]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}},
        {"metadata": {"finalizers": ["b"]}},
    ),
    (
        "$setElementOrder puts the items in order",
        {"spec": {"containers": containers("a", "b", "c")}},
        {"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}, {"name": "b"}]}},
        {"spec": {"containers": containers("c", "a", "b")}},
    ),
    (
        "$setElementOrder keeps items that it does not name",
        {"spec": {"containers": containers("a", "server", "b")}},
        {
            "spec": {
                "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}, {"name": "n"}],
                "containers": containers("n"),
            }
        },
        {"spec": {"containers": containers("server", "b", "a", "n")}},
    ),
    (
        "$setElementOrder on scalars, with deletion",
        {"metadata": {"finalizers": ["a", "b", "c"]}},
        {
            "metadata": {
                "$setElementOrder/finalizers": ["d", "c"],
                "$deleteFromPrimitiveList/finalizers": ["a"],
                "finalizers": ["d"],
            }
        },
        {"metadata": {"finalizers": ["d", "b", "c"]}},
    ),
    (
        "$retainKeys drops the other keys of a union",
        {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}},
        {"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}},
        {"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}},
    ),
    (
        "nulls and directives do not stay in what is new",
        {"spec": {}},
        {"spec": {"securityContext": {"runAsUser": None, "fsGroup": 1}, "containers": [{"name": "a", "env": None}]}},
        {"spec": {"securityContext": {"fsGroup": 1}, "containers": [{"name": "a"}]}},
    ),
    (
        "another type replaces",
        {"spec": {"containers": [{"name": "a", "livenessProbe": {"httpGet": {"port": 80}}}]}},
        {"spec": {"containers": [{"name": "a", "livenessProbe": {"httpGet": {"port": "web"}}}]}},
        {"spec": {"containers": [{"name": "a", "livenessProbe": {"httpGet": {"port": "web"}}}]}},
    ),
]


@pytest.mark.parametrize(
    ("current", "change", "wanted"), [case[1:] for case in STRATEGIC], ids=[case[0] for case in STRATEGIC]
)
def test_strategic_merge(current: Obj, change: Obj, wanted: Obj) -> None:
    before = orjson.dumps([current, change])
    assert smp(("v1", "Pod"), current, change) == wanted
    assert orjson.dumps([current, change]) == before, "inputs must not change"


def test_service_ports_merge_by_port() -> None:
    current = {"spec": {"ports": [{"port": 80, "name": "http"}, {"port": 443, "name": "https"}]}}
    change = {"spec": {"ports": [{"port": 443, "targetPort": 8443}]}}
    assert smp(("v1", "Service"), current, change)["spec"]["ports"] == [
        {"port": 80, "name": "http"},
        {"port": 443, "name": "https", "targetPort": 8443},
    ]


def test_rolling_update_goes_with_the_strategy_type() -> None:
    current = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    change = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert smp(("apps/v1", "Deployment"), current, change) == {"spec": {"strategy": {"type": "Recreate"}}}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"metadata": {"labels": {"$patch": "nonsense"}}}, 422),
        ({"spec": {"containers": [{"image": "no-name"}]}}, 422),
        ({"spec": {"$setElementOrder/containers": "x"}}, 400),
        ({"spec": {"$retainKeys": "x"}}, 400),
        ({"spec": {"$retainKeys": ["a"], "nodeName": "b"}}, 400),
        (
            {"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b", "image": "b"}]}},
            400,
        ),
    ],
)
def test_strategic_patches_that_are_refused(change: Obj, code: int) -> None:
    with pytest.raises(StatusError) as error:
        smp(("v1", "Pod"), {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers("a")}}, change)
    assert error.value.code == code


RFC_7386: list[tuple[object, object, object]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ({"a": "foo"}, None, None),
]


@pytest.mark.parametrize(("target", "change", "wanted"), RFC_7386)
def test_merge_patch(target: object, change: object, wanted: object) -> None:
    assert merge.apply(target, change) == wanted


JSON_VALUES = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("abc", max_size=2), JSON_VALUES, max_size=4)


@given(OBJECTS, OBJECTS)
def test_a_merge_diff_leads_from_one_object_to_the_other(old: Obj, new: Obj) -> None:
    assert merge.apply(old, merge.diff(old, new)) == new


def test_json_patch() -> None:
    operations = [
        {"op": "test", "path": "/a", "value": 1},
        {"op": "replace", "path": "/a", "value": 2},
        {"op": "add", "path": "/l/-", "value": 3},
        {"op": "remove", "path": "/x~1y"},
    ]
    current = {"a": 1, "l": [1], "x/y": 0}
    assert patch.apply(patch.JSON_PATCH, operations, current, POD) == {"a": 2, "l": [1, 3]}
    assert current == {"a": 1, "l": [1], "x/y": 0}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'[{"op":"test","path":"/a","value":2}]', 422),
        (b'[{"op":"remove","path":"/missing"}]', 422),
        (b'[{"op":"nonsense","path":"/a"}]', 422),
        (b'[{"op":"add"}]', 422),
        (b"{}", 400),
        (b"not json", 400),
    ],
)
def test_json_patches_that_are_refused(body: bytes, code: int) -> None:
    with pytest.raises(StatusError) as error:
        patch.apply(patch.JSON_PATCH, patch.parse(patch.JSON_PATCH, body), {"a": 1}, POD)
    assert error.value.code == code


def test_a_failed_test_reads_as_upstream() -> None:
    with pytest.raises(StatusError) as error:
        patch.apply(patch.JSON_PATCH, [{"op": "test", "path": "/a", "value": 2}], {"a": 1}, POD)
    assert error.value.message == "the server rejected our request due to an error in our request"


def test_custom_resources_have_no_strategic_merge_patch() -> None:
    from netlab.api.resources import Resource

    widget = Resource("e.com", "v1", "Widget", "widgets", "widget", True, ("get",), custom=True)
    with pytest.raises(StatusError) as error:
        patch.apply(patch.STRATEGIC_MERGE_PATCH, {}, {}, widget)
    assert error.value.code == 415


@given(OBJECTS)
def test_an_empty_patch_changes_nothing(spec: Obj) -> None:
    current = {"metadata": {"annotations": {"a": "b"}}, "spec": spec}
    assert smp(("v1", "Pod"), current, {}) == current
    assert smp(("v1", "Pod"), current, {"metadata": {"annotations": {}}}) == current
