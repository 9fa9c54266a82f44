"""Fields of features that are switched off: dropped on create, kept where the stored object has them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from netlab.api.strategy.features import drop_disabled
from netlab.api.types import Obj

MOUNTS = [{"name": "img", "mountPath": "/i"}, {"name": "d", "mountPath": "/d"}]
POD: Obj = {
    "resources": {"limits": {"cpu": "1"}},
    "resourceClaims": [{"name": "r", "resourceClaimName": "x"}],
    "volumes": [
        {"name": "img", "image": {"reference": "r"}},
        {"name": "d", "emptyDir": {}},
        {"name": "p", "projected": {"sources": [{"clusterTrustBundle": {"name": "b", "path": "x"}}]}},
    ],
    "containers": [
        {
            "name": "c",
            "volumeMounts": MOUNTS,
            "resources": {"claims": [{"name": "r"}]},
            "lifecycle": {"stopSignal": "SIGUSR1"},
        }
    ],
}
WITHOUT: Obj = {
    "volumes": [{"name": "d", "emptyDir": {}}, {"name": "p", "projected": {"sources": [{}]}}],
    "containers": [{"name": "c", "volumeMounts": MOUNTS[1:], "resources": {}}],
}
ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}
CASES: list[tuple[str, Obj, Obj]] = [
    ("Pod", {"spec": POD}, {"spec": WITHOUT}),
    ("PodTemplate", {"template": {"spec": POD}}, {"template": {"spec": WITHOUT}}),
    ("Deployment", {"spec": {"template": {"spec": POD}}}, {"spec": {"template": {"spec": WITHOUT}}}),
    (
        "CronJob",
        {"spec": {"jobTemplate": {"spec": {"template": {"spec": POD}}}}},
        {"spec": {"jobTemplate": {"spec": {"template": {"spec": WITHOUT}}}}},
    ),
    (
        "StatefulSet",
        {"spec": {"updateStrategy": ROLLING}},
        {"spec": {"updateStrategy": {**ROLLING, "rollingUpdate": {}}}},
    ),
    ("PersistentVolume", {"spec": {"volumeAttributesClassName": "x"}}, {"spec": {}}),
    ("PersistentVolumeClaim", {"spec": {"dataSourceRef": {"kind": "K", "name": "n", "namespace": "m"}}}, {"spec": {}}),
    ("PersistentVolumeClaim", {"spec": {"dataSourceRef": {"name": "n"}}}, {"spec": {"dataSourceRef": {"name": "n"}}}),
    (
        "HorizontalPodAutoscaler",
        {"spec": {"behavior": {"scaleUp": {"tolerance": "1"}}}},
        {"spec": {"behavior": {"scaleUp": {}}}},
    ),
    ("CSIDriver", {"spec": {"nodeAllocatableUpdatePeriodSeconds": 20}}, {"spec": {}}),
    ("Lease", {"spec": {"strategy": "a/b", "preferredHolder": "x"}}, {"spec": {}}),
    ("EndpointSlice", {"endpoints": [{"hints": {"forNodes": [{"name": "n"}]}}]}, {"endpoints": [{"hints": {}}]}),
]


@pytest.mark.parametrize(("kind", "given", "stored"), CASES)
def test_what_is_off_is_not_stored_but_is_kept_where_it_was(kind: str, given: Obj, stored: Obj) -> None:
    new: dict[str, Any] = {"kind": kind, **deepcopy(given)}
    drop_disabled(new)
    assert new == {"kind": kind, **stored}
    again: dict[str, Any] = {"kind": kind, **deepcopy(given)}
    drop_disabled(again, {"kind": kind, **deepcopy(given)})
    assert again == {"kind": kind, **given}
