"""managedFields of created objects, as a real API server 1.33 recorded them."""

from pathlib import Path

import orjson
import pytest

from netlab.api import managedfields
from netlab.api.resources import get
from netlab.api.types import Obj, clone

CASES: list[Obj] = [
    orjson.loads(line)
    for line in (Path(__file__).parent / "data" / "api_managedfields.jsonl").read_bytes().splitlines()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['obj']['kind']}-{case['obj']['metadata']['name']}")
def test_a_creation_owns_what_the_real_server_says(case: Obj) -> None:
    obj = clone(case["obj"])
    resource = get(obj["apiVersion"], obj["kind"])
    managedfields.update(None, obj, resource, "oracle", "2026-01-01T00:00:00Z")
    assert obj["metadata"]["managedFields"] == [
        {
            "manager": "oracle",
            "operation": "Update",
            "apiVersion": obj["apiVersion"],
            "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": case["want"],
        }
    ]
