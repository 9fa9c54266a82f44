"""What a PATCH is told whose result does not fit the kind (upstream's converter and decoder, as 422 about `patch`)."""

from pathlib import Path
from typing import Any

import pytest
from apiserver_harness import ACCOUNTS, PODS, Harness, account, harness, pod

from netlab.api.gotypes.restore import problem

STRATEGIC, MERGE = "application/strategic-merge-patch+json", "application/merge-patch+json"


@pytest.mark.parametrize(
    ("type_name", "value", "expected"),
    [
        ("map[string]string", "x", "cannot restore map from string"),
        ("map[string]string", {"a": 1}, "cannot convert int64 to string"),
        ("map[string]string", {"a": None, "b": "c"}, ""),
        ("[]core/v1.Container", {}, "cannot restore slice from map"),
        ("[]core/v1.Container", [{"name": "a"}, "b"], "cannot restore struct from: string"),
        ("*int32", "3", "unrecognized type: int32"),
        ("*int32", 3.5, "cannot convert float64 to int32"),
        ("*int32", 3, ""),
        ("bool", "true", "unrecognized type: bool"),
        ("string", True, "unrecognized type: string"),
        ("core/v1.Protocol", 6, "cannot convert int64 to v1.Protocol"),
        ("intstr.IntOrString", True, "json: cannot unmarshal bool into Go value of type int32"),
        ("[]uint8", 1, "cannot restore slice from int64"),
        ("core/v1.PodSpec", {"nodeName": 1, "volumes": 2}, "cannot restore slice from int64"),  # in Go's order
    ],
)
def test_words_of_the_converter(type_name: str, value: Any, expected: str) -> None:
    assert problem(type_name, value) == expected


async def told(h: Harness, kind: str, patch: Any, query: str = "") -> str:
    code, status = await h.call("PATCH", f"{PODS}/a{query}", patch, headers={"content-type": kind})
    assert (code, status["reason"]) == (422, "Invalid")
    assert [(one["reason"], one["field"]) for one in status["details"]["causes"]] == [("FieldValueInvalid", "patch")]
    assert "kind" not in status["details"]
    return str(status["message"])


async def test_a_patch_of_the_wrong_shape(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        await h.call("POST", ACCOUNTS, account("default"))
        await h.call("POST", PODS, pod("a"))
        message = await told(h, STRATEGIC, {"metadata": {"labels": "invalid"}})
        shown = "map[metadata:map[labels:invalid]]"
        assert message == f' "" is invalid: patch: Invalid value: "{shown}": cannot restore map from string'
        message = await told(h, STRATEGIC, {"spec": {"zz": 1, "aa": [None, "b"]}}, "?fieldValidation=Strict")
        assert message == (
            ' "" is invalid: patch: Invalid value: "map[spec:map[aa:[<nil> b] zz:1]]": '
            'strict decoding error: unknown field "spec.aa", unknown field "spec.zz"'
        )
        message = await told(h, MERGE, {"metadata": {"labels": "invalid"}})
        assert message.startswith(' "" is invalid: patch: Invalid value: "{\\"apiVersion\\":\\"v1\\",')
        assert message.endswith(
            '": json: cannot unmarshal string into Go struct field ObjectMeta.metadata.labels of type map[string]string'
        )
