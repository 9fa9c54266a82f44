"""Resources that others advertise on a Node: the kubelet makes them allocatable, and admits pods by them."""

from __future__ import annotations

from typing import Any

import pytest
from node_fakes import pod

from netlab.node.kubelet.admission import Admission, is_extended
from netlab.node.registration import extended

Obj = dict[str, Any]


@pytest.mark.parametrize(
    ("name", "found"),
    [("cpu", False), ("hugepages-2Mi", False), ("example.com/dongle", True), ("scheduling.k8s.io/foo", True),
     ("kubernetes.io/batch-cpu", False), ("requests.example.com/dongle", False)],
)  # fmt: skip
def test_names(name: str, found: bool) -> None:
    assert is_extended(name) is found
    assert bool(extended({name: "1"})) is found


@pytest.mark.parametrize(
    ("advertised", "admitted"),
    [({}, [True, True]), ({"example.com/dongle": "3"}, [True, False]), ({"example.com/dongle": "1"}, [False, False])],
)
def test_admission(advertised: Obj, admitted: list[bool]) -> None:
    """Two pods of two dongles each; a node that does not know the resource does not judge it."""
    node = {"spec": {}, "status": {"allocatable": advertised}, "metadata": {"name": "n", "labels": {}}}
    admission = Admission({"cpu": "4", "pods": "110"})
    found = []
    for name in ("a", "b"):
        body = pod(name)
        body["metadata"]["uid"] = name
        body["spec"]["containers"][0]["resources"] = {"requests": {"example.com/dongle": "2"}}
        found.append(admission.admit(body, node) is None)
    assert found == admitted
