"""The metrics server: readings and what lies between them, what is served of it, and who may ask."""

from typing import Any

import orjson
import pytest

from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.extension import ProxyRules, proxied
from netlab.client.fake import FakeApi
from netlab.client.gate import Gate, User
from netlab.lab.addons import metrics_server
from netlab.metrics import objects, schema
from netlab.metrics.collect import address
from netlab.metrics.scrape import Reading, Store, Usage, between, parse
from netlab.metrics.server import Server, _document, seconds
from netlab.node.kubelet.delegated import Delegated, subresources
from netlab.node.kubelet.stats import NodeCpu
from netlab.node.streams.http import Request
from netlab.runtime.contract import ContainerStats
from netlab.topology import load

TEXT = """\
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{{container="a",namespace="default",pod="web"}} {cpu}
container_memory_working_set_bytes{{container="a",namespace="default",pod="web"}} 2.097152e+06
node_cpu_usage_seconds_total {cpu} 1700000000500
node_memory_working_set_bytes 4194304
scrape_error 0
"""


def test_reading_a_kubelet() -> None:
    batch = parse(TEXT.format(cpu=1.5), 1_700_000_000.0)
    assert batch.node == Reading(1_700_000_000.5, 1.5, 4194304)
    assert batch.pods == {("default", "web"): {"a": Reading(1_700_000_000.0, 1.5, 2097152)}}


@pytest.mark.parametrize(
    ("before", "after", "cores"),
    [
        (Reading(0, 1.0, 1), Reading(2, 2.0, 5), 500_000_000),
        (Reading(0, 1.0, 1), Reading(2, 1.0, 5), 0),
        (None, Reading(2, 1.0, 5), None),
        (Reading(0, 9.0, 1), Reading(2, 1.0, 5), None),
        (Reading(2, 1.0, 1), Reading(2, 1.0, 5), None),
        (Reading(0, 1.0, 1), Reading(2, 2.0, None), None),
    ],
)
def test_between_two_readings(before: Reading | None, after: Reading, cores: int | None) -> None:
    found = between(before, after)
    assert (found.nano_cores if found else None) == cores


def filled() -> Store:
    store = Store()
    assert not store.ready
    for number, cpu in enumerate((1.0, 1.5, 2.0)):
        store.put("n1", parse(TEXT.format(cpu=cpu).replace("1700000000500", str(2000 * number)), 2.0 * number))
    return store


def test_the_last_two_readings_count() -> None:
    store = filled()
    assert store.ready
    assert store.node("n1") == Usage(4.0, 2.0, 250_000_000, 4194304)
    assert store.pod("n1", ("default", "web")) == {"a": Usage(4.0, 2.0, 250_000_000, 2097152)}
    assert store.pod("n1", ("default", "other")) is None
    store.keep(set())
    assert store.node("n1") is None


POD: Obj = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
    "spec": {"nodeName": "n1", "containers": [{"name": "a"}]},
}
NODE: Obj = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}


def test_objects_and_tables() -> None:
    usages = {"b": Usage(10, 2.0, 1_000_000, 1 << 20), "a": Usage(9, 2.5, 1_500_000, 3 << 20)}
    found = objects.pod_metrics(POD, usages)
    assert found["window"] == "2.5s"
    assert found["containers"][0] == {"name": "a", "usage": {"cpu": "1500000n", "memory": "3Mi"}}
    table = objects.table([found], "Metadata")
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "cpu", "memory", "Window"]
    assert table["rows"][0]["cells"] == ["web", "2500u", "4Mi", "2.5s"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert objects.duration(75.25) == "1m15.25s"


def test_schemas_refer_to_what_they_define() -> None:
    for document, prefix, place in (
        (schema.v3(), "#/components/schemas/", lambda found: found["components"]["schemas"]),
        (schema.v2(), "#/definitions/", lambda found: found["definitions"]),
    ):
        defined = set(place(document))
        text = orjson.dumps(document).decode()
        named = {part.split('"')[0] for part in text.split(prefix)[1:]}
        assert named and named <= defined


def test_discovery_in_every_form() -> None:
    kind = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
    document = _document("/apis", kind)
    assert document is not None and document[0]["apiVersion"] == "apidiscovery.k8s.io/v2beta1"
    document = _document("/apis/metrics.k8s.io/v1beta1", "")
    assert document is not None and [one["name"] for one in document[0]["resources"]] == ["nodes", "pods"]
    assert _document("/apis/apps/v1", "") is None


@pytest.mark.parametrize(("text", "value"), [("15s", 15.0), ("1m30s", 90.0), ("500ms", 0.5)])
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == value


def test_a_bad_duration() -> None:
    with pytest.raises(ValueError, match='invalid duration "soon"'):
        seconds("soon")


def test_where_kubelets_are() -> None:
    addresses = [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.1"}]
    assert address({"status": {"addresses": addresses}}) == "10.0.0.1:10250"
    port = {"kubeletEndpoint": {"Port": 1}}
    six = [{"type": "InternalIP", "address": "fd00::1"}]
    assert address({"status": {"addresses": six, "daemonEndpoints": port}}) == "[fd00::1]:1"
    assert address({}) == ""


def test_the_period_grows_with_the_cluster() -> None:
    def argument(topology: str) -> str:
        deployment = next(one for one in metrics_server(load(topology), 2.0) if one["kind"] == "Deployment")
        return str(deployment["spec"]["template"]["spec"]["containers"][0]["args"][-1])

    assert argument("single") == "--metric-resolution=2s"
    assert argument("course") == "--metric-resolution=2s"


def test_whom_the_proxy_speaks_for() -> None:
    headers = [
        ("X-Remote-User", "jane"),
        ("X-Remote-Group", "a"),
        ("x-remote-group", "b"),
        ("X-Remote-Extra-Sc%2F1", "v"),
    ]
    assert proxied(headers) == User("jane", ("a", "b"), (("sc/1", ("v",)),))
    assert proxied([("X-Remote-Group", "system:masters")]) is None


class Reviewing(Client):
    """Answers reviews by rule: the token `good` is jane's, who may do what is in `may`."""

    def __init__(self, may: set[str]) -> None:
        self.api = FakeApi()
        super().__init__(self.api)
        self.may = may
        self.asked: list[str] = []

    async def create(self, resource: Any, obj: Obj, namespace: str | None = None, **more: Any) -> Obj:
        self.asked.append(obj["kind"])
        if obj["kind"] == "TokenReview":
            good = obj["spec"]["token"] == "good"
            return {"status": {"authenticated": good, "user": {"username": "jane", "groups": ["dev"]}}}
        spec = obj["spec"]
        named = spec.get("resourceAttributes") or spec["nonResourceAttributes"]
        what = "/".join(
            filter(None, (named["verb"], named.get("resource"), named.get("subresource"), named.get("path")))
        )
        return {"status": {"allowed": what in self.may}}


async def test_the_gate_asks_once() -> None:
    client = Reviewing({"list/pods"})
    gate = Gate(client)
    jane = await gate.user("good")
    assert jane == User("jane", ("dev",))
    assert await gate.user("bad") is None
    for _ in range(3):
        assert await gate.allows(jane, {"verb": "list", "resource": "pods"})
        assert not await gate.allows(jane, {"verb": "list", "resource": "nodes"})
    assert await gate.allows(User("root", ("system:masters",)), {"verb": "get", "path": "/x"})
    assert client.asked.count("SubjectAccessReview") == 2


class _Transport:
    def get_extra_info(self, name: str) -> Any:
        return self if name == "ssl_object" else None

    def getpeercert(self) -> Obj:
        return {"subject": ((("commonName", "front-proxy-client"),),)}


class _Asked:
    """A request as aiohttp's server gives it, as much of it as is looked at."""

    def __init__(self, path: str, headers: dict[str, str], transport: Any = None) -> None:
        self.path, _, self.query_string = path.partition("?")
        self.method, self.headers, self.transport = "GET", headers, transport


async def ask(server: Server, path: str, transport: Any = None, **headers: str) -> tuple[int, Obj]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    found: Any = await server.handle(_Asked(path, named, transport))  # type: ignore[arg-type]
    return found.status, orjson.loads(found.body) if found.body.startswith(b"{") else {}


async def test_from_the_request_to_the_metrics() -> None:
    client = Reviewing({"list/pods", "get/pods", "list/nodes"})
    client.api.add(POD)
    client.api.add(NODE)
    server = Server(client, filled(), ProxyRules("", ("front-proxy-client",)))
    base = "/apis/metrics.k8s.io/v1beta1"
    code, found = await ask(server, f"{base}/namespaces/default/pods", Authorization="Bearer good")
    assert (code, found["items"][0]["containers"][0]["usage"]["cpu"]) == (200, "250000000n")
    code, found = await ask(server, f"{base}/namespaces/default/pods/web", Authorization="Bearer good")
    assert (code, found["kind"]) == (200, "PodMetrics")
    code, found = await ask(server, f"{base}/namespaces/default/pods/none", Authorization="Bearer good")
    assert (code, found["message"]) == (404, 'pods.metrics.k8s.io "none" not found')
    code, found = await ask(server, f"{base}/pods?labelSelector=app%3Dother", Authorization="Bearer good")
    assert (code, found["items"]) == (200, [])
    code, found = await ask(server, f"{base}/nodes", Authorization="Bearer bad")
    assert code == 401
    code, found = await ask(server, f"{base}/nodes/n1", Authorization="Bearer good")
    assert (code, found["reason"]) == (403, "Forbidden")
    assert found["message"].startswith(
        'nodes.metrics.k8s.io "n1" is forbidden: User "jane" cannot get resource "nodes"'
    )
    proxy = _Transport()
    code, found = await ask(server, f"{base}/nodes", proxy, X_Remote_User="root", X_Remote_Group="system:masters")
    assert (code, [one["metadata"]["name"] for one in found["items"]]) == (200, ["n1"])
    assert (await ask(server, "/readyz"))[0] == 200
    assert (await ask(Server(client, Store(), server.proxy), "/readyz"))[0] == 500


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/metrics/resource", ("metrics",)),
        ("/stats/summary", ("stats",)),
        ("/exec/a/b/c", ("proxy",)),
        ("/pods", ("pods", "proxy")),
        ("/metricsx", ("proxy",)),
    ],
)
def test_what_a_kubelets_path_is(path: str, wanted: tuple[str, ...]) -> None:
    assert subresources(path) == wanted


async def test_a_kubelet_asks_the_api_server() -> None:
    delegated = Delegated(Reviewing({"get/nodes/metrics"}), "n1")

    def request(path: str, token: str) -> Request:
        return Request("GET", path, (), {"authorization": f"Bearer {token}"} if token else {})

    await delegated.admit(None, request("/metrics/resource", "good"))
    for path, token, code in (("/metrics", "bad", 401), ("/metrics", "", 401), ("/exec/a/b/c", "good", 403)):
        with pytest.raises(StatusError) as refused:
            await delegated.admit(None, request(path, token))
        assert refused.value.code == code


def test_a_nodes_counter_does_not_fall_when_a_container_goes() -> None:
    def reading(**seconds: float) -> list[ContainerStats]:
        return [ContainerStats(name, used, 0, 1) for name, used in seconds.items()]

    counter = NodeCpu()
    steps = [reading(a=1.0, b=5.0), reading(a=1.5), reading(a=1.5, c=0.25), reading(a=0.0, c=0.25), []]
    assert [counter.count(step) for step in steps] == [6.0, 6.5, 6.75, 6.75, 6.75]
