"""Endpoints and EndpointSlices: plans as tables, the controllers on an API in memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from netlab.api import meta
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.client.kinds import ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES
from netlab.controllers import ControllersConfig
from netlab.controllers import endpoints as legacy
from netlab.controllers import endpointslice_mirroring as mirroring
from netlab.controllers import endpointslice_plan as slices
from netlab.controllers.context import Context
from netlab.controllers.endpointslice import EndpointSliceController


def service(**spec: Any) -> Obj:
    full = {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}], **spec}
    data = {"name": "web", "namespace": "default", "uid": "svc", "labels": {"team": "a"}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": data, "spec": full}


def pod(number: int, *, ready: bool = True, deleting: bool = False, phase: str = "Running", **spec: Any) -> Obj:
    data: Obj = {"name": f"p{number}", "namespace": "default", "uid": f"u{number}", "labels": {"app": "web"}}
    if deleting:
        data |= {"deletionTimestamp": "2024-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}
    status = {
        "phase": phase,
        "podIP": f"10.244.{number // 250}.{number % 250 + 1}",
        "conditions": [{"type": "Ready", "status": str(ready)}],
    }
    spec = {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 9090}]}], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": data, "spec": spec, "status": status}


def conditions_of(one: Obj, owner: Obj | None = None) -> tuple[bool, bool, bool] | None:
    changes = slices.plan(owner or service(), [one], [], {})
    endpoints = changes.create[0]["endpoints"]
    if not endpoints:
        return None
    found = endpoints[0]["conditions"]
    return found["ready"], found["serving"], found["terminating"]


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (pod(1), (True, True, False)),
        (pod(1, ready=False), (False, False, False)),
        (pod(1, deleting=True), (False, True, True)),
        (pod(1, ready=False, deleting=True), (False, False, True)),
        (pod(1, phase="Succeeded"), None),
        (pod(1, phase="Failed"), None),
    ],
)
def test_conditions_of_an_endpoint(one: Obj, expected: tuple[bool, bool, bool] | None) -> None:
    assert conditions_of(one) == expected


def test_not_ready_addresses_are_published_where_asked() -> None:
    owner = service(publishNotReadyAddresses=True)
    assert conditions_of(pod(1, ready=False), owner) == (True, False, False)
    assert conditions_of(pod(1, deleting=True), owner) == (True, True, True)


def test_a_slice_as_upstream_writes_it() -> None:
    (made,) = slices.plan(service(), [pod(1)], [], {"n1": "z1"}).create
    assert made["metadata"]["generateName"] == "web-"
    assert made["metadata"]["labels"] == {
        "team": "a",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert made["metadata"]["ownerReferences"][0]["uid"] == "svc"
    assert made["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert made["endpoints"] == [
        {
            "addresses": ["10.244.0.2"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "p1", "uid": "u1"},
            "nodeName": "n1",
            "zone": "z1",
        }
    ]


def test_headless_and_named_ports_and_hostnames() -> None:
    headless = service(clusterIP="None", ports=[{"port": 80, "targetPort": "web"}])
    (made,) = slices.plan(headless, [pod(1, hostname="db-0", subdomain="web")], [], {}).create
    assert made["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
    assert made["ports"][0]["port"] == 9090
    assert made["endpoints"][0]["hostname"] == "db-0"


def written(changes: slices.Changes, before: list[Obj]) -> list[Obj]:
    """The slices after the changes."""
    state = {meta.name(one): one for one in before}
    for one in changes.delete:
        del state[meta.name(one)]
    for one in changes.update:
        state[meta.name(one)] = one
    for number, one in enumerate(changes.create):
        name = f"s{len(before)}-{number}"
        state[name] = {**one, "metadata": {**one["metadata"], "name": name}}
    return list(state.values())


def sizes(state: list[Obj]) -> list[int]:
    return sorted(len(one["endpoints"]) for one in state)


def test_slices_hold_a_hundred_and_change_little() -> None:
    pods = [pod(n) for n in range(250)]
    state = written(slices.plan(service(), pods, [], {}), [])
    assert sizes(state) == [50, 100, 100]
    assert slices.plan(service(), pods, state, {}) == slices.Changes()
    more = slices.plan(service(), [*pods, pod(250)], state, {})
    assert (len(more.create), len(more.update), len(more.delete)) == (0, 1, 0)
    fewer = slices.plan(service(), pods[:-1], state, {})
    assert (len(fewer.create), len(fewer.update), len(fewer.delete)) == (0, 1, 0)
    none = slices.plan(service(), [], state, {})
    assert (len(none.update), len(none.delete)) == (1, 2)
    state = written(none, state)
    assert sizes(state) == [0]
    assert slices.plan(service(), [], state, {}) == slices.Changes()


def test_an_address_family_that_is_not_wanted_any_more_goes() -> None:
    state = written(slices.plan(service(), [pod(1)], [], {}), [])
    state[0]["addressType"] = "IPv6"
    changes = slices.plan(service(), [pod(1)], state, {})
    assert (len(changes.delete), len(changes.create)) == (1, 1)


def test_endpoints_keep_ready_and_not_ready_apart() -> None:
    made = legacy.plan(service(), [pod(2, ready=False), pod(1)], None, "now")
    assert made is not None
    (subset,) = made["subsets"]
    assert [entry["ip"] for entry in subset["addresses"]] == ["10.244.0.2"]
    assert [entry["ip"] for entry in subset["notReadyAddresses"]] == ["10.244.0.3"]
    assert subset["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert made["metadata"]["labels"]["endpoints.kubernetes.io/managed-by"] == "endpoint-controller"
    assert legacy.plan(service(), [pod(2, ready=False), pod(1)], made, "later") is None
    assert legacy.plan(service(), [pod(1)], made, "later") is not None


def test_endpoints_over_capacity_say_so() -> None:
    made = legacy.plan(service(), [pod(n) for n in range(1001)], None, "now")
    assert made is not None
    assert len(made["subsets"][0]["addresses"]) == 1000
    assert made["metadata"]["annotations"]["endpoints.kubernetes.io/over-capacity"] == "truncated"


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    api = FakeApi()
    context = Context(Client(api), ControllersConfig())
    running = [EndpointSliceController(context).run(), legacy.EndpointsController(context).run()]
    tasks = [asyncio.create_task(one) for one in running]
    yield api
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(*(informer.stop() for informer in context.informers.values()))


def ready_addresses(api: FakeApi) -> set[str]:
    return {
        endpoint["addresses"][0]
        for one in api.objects(ENDPOINT_SLICES)
        for endpoint in one["endpoints"]
        if endpoint["conditions"]["ready"]
    }


def legacy_addresses(api: FakeApi) -> set[str]:
    return {a["ip"] for e in api.objects(ENDPOINTS) for s in e["subsets"] for a in s.get("addresses", [])}


async def test_follow_the_pods_of_a_service(api: FakeApi) -> None:
    api.add(service())
    await eventually(lambda: len(api.objects(ENDPOINT_SLICES)) == 1 and len(api.objects(ENDPOINTS)) == 1, "made empty")
    api.add(pod(1))
    api.add(pod(2, ready=False))
    await eventually(lambda: ready_addresses(api) == legacy_addresses(api) == {"10.244.0.2"}, "one is ready")
    api.modify(PODS, "default/p2", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    await eventually(lambda: len(ready_addresses(api)) == len(legacy_addresses(api)) == 2, "both are ready")
    api.modify(PODS, "default/p1", {"metadata": {"labels": {"app": "other"}}})
    await eventually(lambda: ready_addresses(api) == legacy_addresses(api) == {"10.244.0.3"}, "one no longer selected")
    api.remove(SERVICES, "default/web")
    await eventually(lambda: not api.objects(ENDPOINT_SLICES) and not api.objects(ENDPOINTS), "all gone")


async def test_what_others_write_into_a_slice_is_put_right(api: FakeApi) -> None:
    api.add(service())
    api.add(pod(1))
    await eventually(lambda: ready_addresses(api) == {"10.244.0.2"}, "made")
    (one,) = api.objects(ENDPOINT_SLICES)
    api.modify(ENDPOINT_SLICES, meta.key(one), {"endpoints": []})
    await eventually(lambda: ready_addresses(api) == {"10.244.0.2"}, "restored")


async def test_many_pods_cost_few_writes(api: FakeApi) -> None:
    api.add(service())
    for number in range(300):
        api.add(pod(number))
    await eventually(lambda: len(ready_addresses(api)) == 300, "all there")
    writes = sum(method in ("POST", "PUT") and "endpointslices" in path for method, path in api.requests)
    assert writes < 60


def by_hand(*ips: str, **labels: str) -> Obj:
    subset = {"addresses": [{"ip": ip} for ip in ips], "ports": [{"port": 5432}]}
    data = {"name": "web", "namespace": "default", "labels": labels}
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": data, "subsets": [subset] if ips else []}


async def test_endpoints_written_by_hand_are_mirrored(api: FakeApi) -> None:
    context = Context(Client(api), ControllersConfig())
    task = asyncio.create_task(mirroring.MirroringController(context).run())
    api.add(service(selector=None))
    api.add(by_hand("192.0.2.1", "2001:db8::1"))
    await eventually(lambda: ready_addresses(api) == {"192.0.2.1", "2001:db8::1"}, "mirrored")
    kinds = {one["addressType"]: one for one in api.objects(ENDPOINT_SLICES)}
    assert set(kinds) == {"IPv4", "IPv6"}
    assert kinds["IPv4"]["ports"] == [{"name": "", "port": 5432, "protocol": "TCP"}]
    assert kinds["IPv4"]["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] == mirroring.MANAGER
    api.modify(ENDPOINTS, "default/web", {"subsets": by_hand("192.0.2.9")["subsets"]})
    await eventually(lambda: ready_addresses(api) == {"192.0.2.9"}, "followed")
    api.remove(ENDPOINTS, "default/web")
    await eventually(lambda: not api.objects(ENDPOINT_SLICES), "gone")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.gather(*(informer.stop() for informer in context.informers.values()))


def test_what_is_not_mirrored() -> None:
    plain = service(selector=None)
    assert mirroring.should_mirror(by_hand("192.0.2.1"), plain)
    assert not mirroring.should_mirror(by_hand("192.0.2.1"), service())
    assert not mirroring.should_mirror(by_hand("192.0.2.1"), None)
    assert not mirroring.should_mirror(by_hand("192.0.2.1", **{mirroring.SKIP: "true"}), plain)
