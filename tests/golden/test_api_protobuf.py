"""Bodies that a real kubectl 1.33 sent, against what the same kubectl prints with `--dry-run=client -o json`."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from netlab.api import protobuf
from netlab.api.errors import StatusError
from netlab.api.types import Obj

CASES: list[Obj] = [
    orjson.loads(line) for line in (Path(__file__).parent / "data" / "api_protobuf.jsonl").read_bytes().splitlines()
]


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["kubectl"])
def test_a_body_reads_as_the_json_that_kubectl_would_send(case: Obj) -> None:
    assert without_nulls(protobuf.decode(bytes.fromhex(case["body"]))) == without_nulls(case["want"])


@pytest.mark.parametrize("case", CASES[::6], ids=lambda case: case["kubectl"])
def test_a_body_cut_anywhere_is_a_400_or_a_smaller_object(case: Obj) -> None:
    body = bytes.fromhex(case["body"])
    for end in range(len(body)):
        try:
            protobuf.decode(body[:end])
        except StatusError as error:
            assert error.code == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"k8s\x00",
        b"k8s\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"k8s\x00\x0a\x0b\x0a\x02v1\x12\x05Bogus",
        b"k8s\x00\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x02\x0a\xff",
        b"k8s\x00\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x02\x08\x01",
    ],
)
def test_bodies_that_are_none(body: bytes) -> None:
    with pytest.raises(StatusError) as error:
        protobuf.decode(body)
    assert error.value.code == 400
