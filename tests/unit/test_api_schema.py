"""The schema source: what merges how, and which fields are known."""

import subprocess
import sys

import pytest

from netlab.api import schema


def pod() -> schema.Schema:
    found = schema.for_kind("v1", "Pod")
    assert found is not None
    return found


def test_merge_keys_and_list_types() -> None:
    spec = pod().field("spec")
    assert spec is not None
    containers = spec.field("containers")
    assert containers is not None
    assert (containers.merge_key, containers.list_type, containers.list_map_keys) == ("name", "map", ("name",))
    assert "merge" in containers.patch_strategies
    assert containers.items is not None
    assert containers.items.required == ("name",)
    ports = containers.items.field("ports")
    assert ports is not None
    assert ports.list_map_keys == ("containerPort", "protocol")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (("metadata", "labels", "anything"), "string"),
        (("metadata", "creationTimestamp"), "string"),
        (("metadata", "managedFields"), "array"),
        (("spec", "terminationGracePeriodSeconds"), "integer"),
        (("spec", "hostNetwork"), "boolean"),
        (("spec", "resources", "limits", "cpu"), "quantity"),
    ],
)
def test_types(path: tuple[str, ...], kind: str) -> None:
    found: schema.Schema | None = pod()
    for step in path:
        assert found is not None
        found = found.field(step)
    assert found is not None
    assert found.type == kind


def test_unknown_fields_are_named_in_order() -> None:
    obj = {
        "metadata": {"name": "x", "bogus": 1, "labels": {"any": "thing"}},
        "spec": {"containers": [{"name": "a", "imagee": "x"}], "nodeNam": "n"},
        "specc": {},
    }
    assert schema.unknown_fields(pod(), obj) == [
        "metadata.bogus",
        "spec.containers[0].imagee",
        "spec.nodeNam",
        "specc",
    ]


def test_opaque_json_is_left_alone() -> None:
    revision = schema.for_kind("apps/v1", "ControllerRevision")
    assert revision is not None
    assert schema.unknown_fields(revision, {"data": {"any": {"thing": 1}}, "revision": 1}) == []


def test_the_vocabulary_imports_nothing_heavy() -> None:
    code = (
        "import sys, netlab.api.resources, netlab.api.meta, netlab.api.errors, netlab.api.labels, netlab.api.fields,"
        " netlab.api.schema; heavy = {'jsonschema', 'lightkube', 'kubernetes_validate', 'asyncio', 'socket', 'yaml',"
        " 'jsonpatch'} & set(sys.modules); print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
