"""The client's small parts: queue, lines, verbs, events, leases, kubeconfig."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client import kubeconfig, watch
from netlab.client.client import Client
from netlab.client.events import EventRecorder
from netlab.client.fake import FakeApi, eventually
from netlab.client.kinds import CONFIG_MAPS, EVENTS, LEASES, PODS
from netlab.client.leaderelection import run_as_leader
from netlab.client.workqueue import WorkQueue

POD: Obj = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"containers": [{"name": "c"}]},
}


async def _chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.parametrize(
    ("parts", "lines"),
    [
        ((b"a\nb\n",), [b"a", b"b"]),
        ((b"a", b"b", b"\nc", b"\n"), [b"ab", b"c"]),
        ((b"a\n", b"", b"b\nc"), [b"a", b"b"]),
        ((b"\n\na\n",), [b"a"]),
    ],
)
async def test_lines_come_out_whole_however_they_are_cut(parts: tuple[bytes, ...], lines: list[bytes]) -> None:
    found = [line async for batch in watch.line_batches(_chunks(*parts)) for line in batch]
    assert found == lines


def test_equal_lines_are_decoded_once() -> None:
    watch.share_decoding()
    try:
        line = b'{"type":"ADDED","object":{"metadata":{"name":"a"}}}'
        assert watch.decode_event(line)[1] is watch.decode_event(bytes(bytearray(line)))[1]
        body = b'{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{}}]}'
        assert watch.decode_list(body) is watch.decode_list(bytes(bytearray(body)))
    finally:
        watch.stop_sharing()


def test_list_items_get_their_kind() -> None:
    listed = watch.decode_list(
        b'{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[{"metadata":{"name":"a"}}]}'
    )
    assert listed["items"] == [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}]
    assert watch.decode_list(b'{"kind":"PodList","apiVersion":"v1","items":null}')["items"] == []


async def test_a_key_is_worked_on_once_at_a_time_and_again_if_added_meanwhile() -> None:
    queue = WorkQueue("q")
    log: list[str] = []
    inside = asyncio.Event()
    release = asyncio.Event()

    async def work(key: str) -> None:
        log.append(key)
        inside.set()
        await release.wait()

    queue.add("a")
    queue.add("a")
    task = asyncio.create_task(queue.run(work, workers=3))
    await inside.wait()
    queue.add("a")
    queue.add("a")
    await asyncio.sleep(0)
    assert log == ["a"]
    release.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert log == ["a", "a"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_failures_are_retried_and_success_forgets_them() -> None:
    queue = WorkQueue("q", backoff_min=0.001, backoff_max=0.002)
    tries: list[int] = []
    done = asyncio.Event()

    async def work(key: str) -> None:
        tries.append(queue.retries(key))
        if len(tries) == 1:
            raise OSError("no")
        if len(tries) == 2:
            raise ValueError("bad")
        done.set()

    queue.add("a")
    task = asyncio.create_task(queue.run(work))
    async with asyncio.timeout(5):
        await done.wait()
    await asyncio.sleep(0)
    assert tries == [0, 1, 2]
    assert queue.retries("a") == 0
    task.cancel()


async def test_the_earliest_of_several_delays_wins() -> None:
    queue = WorkQueue("q")
    queue.add_after("a", 60)
    queue.add_after("a", 0.001)
    queue.add_after("a", 60)
    async with asyncio.timeout(5):
        assert await queue.get() == "a"
    queue.close()


async def test_verbs_and_their_errors() -> None:
    client = Client(FakeApi())
    created = await client.create(PODS, POD)
    assert created["metadata"]["uid"]
    with pytest.raises(StatusError, match='pods "web" already exists') as exists:
        await client.create(PODS, POD)
    assert (exists.value.code, exists.value.reason) == (409, "AlreadyExists")
    await client.patch_status(PODS, "web", {"status": {"phase": "Running"}}, "default")
    with pytest.raises(StatusError, match="the object has been modified"):
        await client.update(PODS, created)
    with pytest.raises(StatusError) as other:
        await client.delete(PODS, "web", "default", uid="other")
    assert other.value.reason == "Conflict"
    await client.delete(PODS, "web", "default")
    with pytest.raises(StatusError, match='pods "web" not found'):
        await client.get(PODS, "web", "default")


async def test_repeated_events_are_counted_and_similar_ones_combined() -> None:
    api = FakeApi()
    recorder = EventRecorder(Client(api), "kubelet", host="n1")
    pod = api.add(POD)
    for _ in range(3):
        recorder.event(pod, "Warning", "BackOff", "Back-off restarting failed container")
    await recorder.flush()
    (event,) = api.objects(EVENTS)
    assert event["count"] == 3
    assert event["source"] == {"component": "kubelet", "host": "n1"}
    assert event["involvedObject"]["uid"] == pod["metadata"]["uid"]
    for number in range(30):
        recorder.event(pod, "Normal", "Pulled", f"message {number}")
    await recorder.flush()
    messages = [e["message"] for e in api.objects(EVENTS)]
    assert any(message.startswith("(combined from similar events): ") for message in messages)
    assert len(messages) == 1 + 10 + 1
    await recorder.close()


async def test_events_wait_for_the_server() -> None:
    api = FakeApi()
    recorder = EventRecorder(Client(api), "kubelet")
    pod = api.add(POD)
    api.fail_next("POST", "/events", 0)
    recorder.event(pod, "Normal", "Pulled", "m")
    await recorder.flush()
    assert len(api.objects(EVENTS)) == 1
    await recorder.close()


async def test_the_only_control_plane_adopts_the_lease_at_once() -> None:
    api = FakeApi()
    spec = {"holderIdentity": "dead", "leaseDurationSeconds": 3600, "leaseTransitions": 4}
    api.add(
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "scheduler", "namespace": "kube-system"},
            "spec": spec,
        }
    )
    key = "kube-system/scheduler"
    led = asyncio.Event()

    async def lead() -> None:
        led.set()
        await eventually(lambda: api.find(LEASES, key)["spec"]["holderIdentity"] == "me", "lease taken")

    async with asyncio.timeout(5):
        await run_as_leader(Client(api), "scheduler", "me", lead, adopt=True)
    assert led.is_set()
    assert api.find(LEASES, "kube-system/scheduler")["spec"]["leaseTransitions"] == 5


async def test_a_held_lease_is_waited_for() -> None:
    api = FakeApi()
    lead = asyncio.Event()

    async def first() -> None:
        await asyncio.sleep(3600)

    async def second() -> None:
        lead.set()

    one = asyncio.create_task(run_as_leader(Client(api), "x", "one", first))
    await eventually(lambda: bool(api.objects(LEASES)), "lease held")
    two = asyncio.create_task(run_as_leader(Client(api), "x", "two", second))
    await asyncio.sleep(0.05)
    assert not lead.is_set()
    one.cancel()
    api.modify(LEASES, "kube-system/x", {"spec": {"holderIdentity": ""}})
    async with asyncio.timeout(5):
        await two
    assert lead.is_set()


def test_kubeconfig_names_what_is_missing(tmp_path: Path) -> None:
    config = {
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    assert kubeconfig.load(config) == ("http://127.0.0.1:1", None, "t")
    with pytest.raises(ValueError, match="no entry 'b' in contexts"):
        kubeconfig.load(config, "b")


async def test_dropped_requests_are_transport_errors() -> None:
    api = FakeApi()
    api.fail_next("GET", "configmaps", 0)
    with pytest.raises(OSError, match="connection reset"):
        await Client(api).list(CONFIG_MAPS)
