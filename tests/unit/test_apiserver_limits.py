"""LimitRanger: defaults and bounds of a namespace."""

from pathlib import Path
from typing import Any

import pytest
from apiserver_harness import ACCOUNTS, PODS, account, harness, pod

Obj = dict[str, Any]
RANGES = "/api/v1/namespaces/default/limitranges"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"


def limit_range(**limit: Any) -> Obj:
    return {"metadata": {"name": "r"}, "spec": {"limits": [{"type": "Container", **limit}]}}


def asking(name: str, **resources: Any) -> Obj:
    made = pod(name)
    made["spec"]["containers"][0]["resources"] = resources
    return made


async def test_defaults_are_filled_in_and_told(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        await h.ok("POST", ACCOUNTS, account("default"))
        await h.ok("POST", RANGES, limit_range(default={"cpu": "1", "memory": "512Mi"}, defaultRequest={"cpu": "500m"}))
        made = await h.ok("POST", PODS, asking("p", limits={"cpu": "2"}))
        resources = made["spec"]["containers"][0]["resources"]
        # a limit that is set was its request before the range was asked, as upstream
        assert resources == {
            "limits": {"cpu": "2", "memory": "512Mi"},
            "requests": {"cpu": "2", "memory": "512Mi"},
        }
        assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
            "LimitRanger plugin set: memory request for container c; memory limit for container c"
        )
        assert made["status"]["qosClass"] == "Guaranteed"


@pytest.mark.parametrize(
    ("limit", "resources", "why"),
    [
        (
            {"max": {"memory": "1Gi"}},
            {"limits": {"memory": "2Gi"}},
            "maximum memory usage per Container is 1Gi, but limit is 2Gi",
        ),
        (
            {"min": {"cpu": "200m"}},
            {"requests": {"cpu": "100m"}},
            "minimum cpu usage per Container is 200m, but request is 100m",
        ),
        (
            {"type": "Pod", "max": {"cpu": "1"}},
            {},
            "maximum cpu usage per Pod is 1.  No limit is specified",
        ),
        (
            {"maxLimitRequestRatio": {"cpu": "2"}},
            {"requests": {"cpu": "100m"}, "limits": {"cpu": "300m"}},
            "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
        ),
        (
            {"type": "Pod", "max": {"cpu": "1", "memory": "1Gi"}},
            {},
            "[maximum cpu usage per Pod is 1.  No limit is specified, "
            "maximum memory usage per Pod is 1Gi.  No limit is specified]",
        ),
    ],
)
async def test_bounds(tmp_path: Path, limit: Obj, resources: Obj, why: str) -> None:
    async with harness(tmp_path) as h:
        await h.ok("POST", ACCOUNTS, account("default"))
        await h.ok("POST", RANGES, limit_range(**limit))
        assert await h.refused("POST", PODS, asking("p", **resources)) == (
            403,
            "Forbidden",
            f'pods "p" is forbidden: {why}',
        )


async def test_bounds_of_claims(tmp_path: Path) -> None:
    async with harness(tmp_path) as h:
        await h.ok("POST", RANGES, limit_range(type="PersistentVolumeClaim", max={"storage": "1Gi"}))
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}
        code, _, said = await h.refused("POST", CLAIMS, {"metadata": {"name": "c"}, "spec": spec})
        why = "maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"
        assert (code, said) == (403, f'persistentvolumeclaims "c" is forbidden: {why}')
