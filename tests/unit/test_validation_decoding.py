"""Decoding: what the typed decoder keeps, what it refuses and in which words."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest

from netlab.api import decoding, gotypes
from netlab.api.errors import StatusError
from netlab.api.gotypes import fast, scalars
from netlab.api.resources import Resource, by_kind


def resource(api_version: str, kind: str) -> Resource:
    found = by_kind(api_version, kind)
    assert found is not None
    return found


POD = resource("v1", "Pod")
SERVICE = resource("v1", "Service")


def decode(text: str, validation: decoding.FieldValidation = "Strict", kind: Resource = POD) -> Any:
    return decoding.decode(text.encode(), kind, validation)[0]


def refusal(text: str, validation: decoding.FieldValidation = "Strict", kind: Resource = POD) -> str:
    with pytest.raises(StatusError) as caught:
        decoding.decode(text.encode(), kind, validation)
    assert caught.value.code == 400
    return caught.value.message


def test_what_go_drops_is_dropped_and_what_it_always_writes_is_there() -> None:
    pod = decode(
        '{"kind":"Pod","metadata":{"name":"a","labels":{},"annotations":null},'
        '"spec":{"hostNetwork":false,"nodeSelector":{},"automountServiceAccountToken":false,"containers":[{"name":"c"}]}}'
    )
    assert pod["apiVersion"] == "v1"
    assert pod["metadata"] == {"name": "a", "creationTimestamp": None}
    assert pod["spec"] == {"automountServiceAccountToken": False, "containers": [{"name": "c", "resources": {}}]}
    assert pod["status"] == {}


def test_quantities_and_times_become_canonical() -> None:
    pod = decode(
        '{"metadata":{"name":"a","creationTimestamp":"2024-01-02T03:04:05.6+01:00"},"spec":{"containers":'
        '[{"name":"c","resources":{"limits":{"cpu":0.5,"memory":"1.5Gi"}}}]}}'
    )
    assert pod["metadata"]["creationTimestamp"] == "2024-01-02T02:04:05Z"
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "1536Mi"}


def test_empty_maps_are_remembered_for_messages_only() -> None:
    pod = decode('{"metadata":{"labels":{}},"spec":{"containers":[]}}')
    assert fast.was_empty(pod["metadata"], "labels")
    assert not fast.was_empty(pod["metadata"], "annotations")
    assert b"labels" not in orjson.dumps(pod)


UNKNOWN = '{"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","imagee":"x"}],"foo":1}}'


def test_unknown_fields_by_field_validation() -> None:
    prefix = 'Pod in version "v1" cannot be handled as a Pod: strict decoding error: '
    fields = 'unknown field "spec.containers[0].imagee", unknown field "spec.foo"'
    assert refusal(UNKNOWN) == prefix + fields
    obj, warnings = decoding.decode(UNKNOWN.encode(), POD, "Warn")
    assert warnings == fields.split(", ")
    assert "foo" not in obj["spec"]
    assert decoding.decode(UNKNOWN.encode(), POD, "Ignore")[1] == []


@pytest.mark.parametrize(
    "text",
    [
        '{"metadata":{"name":"a","name":"b"},"spec":{"containers":[{"name":"c"}]}}',
        '{"metadata":{"name":"a", "name" :"b"},"spec":{"containers":[{"name":"c"}]}}',
    ],
)
def test_duplicate_fields_are_found_however_they_are_written(text: str) -> None:
    assert refusal(text).endswith('strict decoding error: duplicate field "metadata.name"')
    assert decode(text, "Ignore")["metadata"]["name"] == "b"


def test_an_annotation_with_json_in_it_is_no_duplicate() -> None:
    text = r'{"metadata":{"name":"a","annotations":{"x":"{\"a\":1,\"a\":2}"}},"spec":{"containers":[{"name":"c"}]}}'
    assert decode(text)["metadata"]["annotations"] == {"x": '{"a":1,"a":2}'}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"spec":5}', "cannot unmarshal number into Go struct field Pod.spec of type v1.PodSpec"),
        (
            '{"spec":{"containers":[{"ports":[{"containerPort":"x"}]}]}}',
            "cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort "
            "of type int32",
        ),
        (
            '{"spec":{"terminationGracePeriodSeconds":1.5}}',
            "cannot unmarshal number 1.5 into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64",
        ),
        (
            '{"metadata":{"labels":{"a":1}},"spec":{"restartPolicy":[]}}',
            "cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
    ],
)
def test_a_wrong_type_is_named_as_go_names_it(body: str, words: str) -> None:
    assert refusal(body) == f'Pod in version "v1" cannot be handled as a Pod: json: {words}'


def test_types_that_decode_themselves_win_over_earlier_mismatches() -> None:
    body = '{"metadata":{"labels":{"a":1}},"spec":{"overhead":{"cpu":"1 core"}}}'
    assert refusal(body).endswith(
        "Pod: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )


def test_int_or_string_speaks_of_int32() -> None:
    body = '{"spec":{"ports":[{"targetPort":1000000000000}]}}'
    words = "cannot unmarshal number 1000000000000 into Go struct field ServicePort.spec.ports.targetPort of type int32"
    assert refusal(body, kind=SERVICE) == f'Service in version "v1" cannot be handled as a Service: json: {words}'


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("{", "unexpected end of JSON input ({)"),
        ('{"a" 1}', "invalid character '1' after object key ({\"a\" 1})"),
        ("[1,2", "unexpected end of JSON input (5b312c32)"),
        ("", "unexpected end of JSON input (<empty>)"),
    ],
)
def test_what_is_not_json_is_called_so(body: str, why: str) -> None:
    start = "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: "
    assert refusal(body) == start + why


def test_an_object_of_another_kind_or_version_is_refused() -> None:
    assert "does not match the expected API version (v1)" in refusal(
        '{"kind":"Event","apiVersion":"events.k8s.io/v1"}', kind=resource("v1", "Event")
    )
    assert 'no kind "Nothing" is registered for version "v1"' in refusal('{"kind":"Nothing","apiVersion":"v1"}')


def test_the_exact_way_agrees_with_the_quick_one() -> None:
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "c", "env": [{"name": "A", "value": "b"}], "command": ["x", "y"]}]},
    }
    quick = decoding.decode(orjson.dumps(body), POD, "Strict")[0]
    spaced = orjson.dumps(body).replace(b'"name":', b'"name" :')  # cannot be counted, so walked
    assert decoding.decode(spaced, POD, "Strict")[0] == quick
    assert decoding.decode(copy.deepcopy(body), POD, "Strict")[0] == quick


def test_nulls_in_lists_and_maps_are_zero_values() -> None:
    pod = decode('{"metadata":{"labels":{"a":null}},"spec":{"containers":[null,{"name":"c","args":[null]}]}}')
    assert pod["metadata"]["labels"] == {"a": ""}
    assert pod["spec"]["containers"] == [{"name": "", "resources": {}}, {"name": "c", "resources": {}, "args": [""]}]


def test_every_struct_of_the_tables_has_a_decoder_that_makes_its_zero_value() -> None:
    for name in gotypes._tables().structs:
        if name.partition(".")[0] not in ("meta/v1", "admission/v1"):
            assert isinstance(fast.decoder(name)({}), dict), name


@pytest.mark.parametrize(
    ("given", "written"),
    [("90s", "1m30s"), ("1.5h", "1h30m0s"), ("0", "0s"), ("1500us", "1.5ms"), ("-2m", "-2m0s")],
)
def test_durations_are_written_as_go_writes_them(given: str, written: str) -> None:
    assert scalars.duration(given) == written


def test_base64_says_where_it_is_wrong() -> None:
    with pytest.raises(ValueError, match="illegal base64 data at input byte 4"):
        scalars.byte_string("YWJj!")


def test_null_is_a_value_where_any_json_is() -> None:
    definition = resource("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    schema = '{"openAPIV3Schema":{"type":"object","enum":[null,1],"unknown":true}}'
    text = f'{{"spec":{{"versions":[{{"name":"v1","schema":{schema}}}]}}}}'
    made = decode(text, "Warn", definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert made == {"type": "object", "enum": [None, 1]}
