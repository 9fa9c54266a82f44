"""The official Python client, `kubernetes`, against a running lab."""

from __future__ import annotations

import datetime
import socket
import threading
import time
import urllib.request
from typing import Any

import pytest
import yaml
from kubernetes import client, dynamic, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from kubernetes.stream import portforward, stream

from tests.clients.objects import box, config_map, definition, deployment
from tests.labs.tools import until

pytestmark = [pytest.mark.timeout(180), pytest.mark.filterwarnings("ignore::ResourceWarning")]


def _ready(core: client.CoreV1Api, namespace: str, name: str) -> bool:
    found = core.read_namespaced_pod_status(name, namespace).status
    return any(one.type == "Ready" and one.status == "True" for one in found.conditions or [])


@pytest.fixture
def running(core: client.CoreV1Api, namespace: str) -> str:
    core.create_namespaced_pod(namespace, box())
    until("box is Ready", lambda: _ready(core, namespace, "box"))
    return namespace


def test_create_read_replace_delete(core: client.CoreV1Api, namespace: str) -> None:
    made = core.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata={"name": "a"}, data={"k": "1"}))
    assert made.metadata.uid
    made.data["k"] = "2"
    replaced = core.replace_namespaced_config_map("a", namespace, made)
    assert replaced.data == {"k": "2"}
    assert int(replaced.metadata.resource_version) > int(made.metadata.resource_version)
    with pytest.raises(ApiException) as stale:
        core.replace_namespaced_config_map("a", namespace, made)
    assert (stale.value.status, stale.value.reason) == (409, "Conflict")
    assert "the object has been modified" in stale.value.body
    with pytest.raises(ApiException) as again:
        core.create_namespaced_config_map(namespace, config_map("a"))
    assert again.value.status == 409
    core.delete_namespaced_config_map("a", namespace)
    with pytest.raises(ApiException) as gone:
        core.read_namespaced_config_map("a", namespace)
    assert gone.value.status == 404
    core.create_namespaced_config_map(namespace, config_map("b", {"x": "y"}))
    core.delete_collection_namespaced_config_map(namespace, label_selector="x=y")
    assert [one.metadata.name for one in core.list_namespaced_config_map(namespace, label_selector="x").items] == []


def test_pages_and_selectors(core: client.CoreV1Api, namespace: str) -> None:
    for number in range(7):
        core.create_namespaced_config_map(namespace, config_map(f"c{number}", {"half": str(number % 2)}))
    found, token, rounds = [], None, 0
    while token != "":
        page = core.list_namespaced_config_map(namespace, limit=3, _continue=token, label_selector="half")
        found += [one.metadata.name for one in page.items]
        token, rounds = page.metadata._continue or "", rounds + 1
    assert (found, rounds) == ([f"c{number}" for number in range(7)], 3)
    half = core.list_namespaced_config_map(namespace, label_selector="half in (1)")
    assert [one.metadata.name for one in half.items] == ["c1", "c3", "c5"]
    one = core.list_namespaced_config_map(namespace, field_selector="metadata.name=c4")
    assert [item.metadata.name for item in one.items] == ["c4"]
    with pytest.raises(ApiException) as refused:
        core.list_namespaced_config_map(namespace, field_selector="no.such=1")
    assert refused.value.status == 400


def test_a_watch_and_its_resumption(core: client.CoreV1Api, namespace: str) -> None:
    start = core.list_namespaced_config_map(namespace).metadata.resource_version
    for name in ("w1", "w2", "w3"):
        core.create_namespaced_config_map(namespace, config_map(name, {"w": "1"}))
    core.delete_namespaced_config_map("w1", namespace)
    call = {"namespace": namespace, "label_selector": "w", "timeout_seconds": 30}
    watcher = watch.Watch()
    first = []
    for event in watcher.stream(core.list_namespaced_config_map, resource_version=start, **call):
        first.append((event["type"], event["object"].metadata.name))
        if len(first) == 2:
            watcher.stop()
    assert first == [("ADDED", "w1"), ("ADDED", "w2")]
    rest = []
    resumed = watch.Watch()
    for event in resumed.stream(core.list_namespaced_config_map, resource_version=watcher.resource_version, **call):
        rest.append((event["type"], event["object"].metadata.name))
        if len(rest) == 2:
            resumed.stop()
    assert rest == [("ADDED", "w3"), ("DELETED", "w1")]
    ended = list(watch.Watch().stream(core.list_namespaced_config_map, namespace=namespace, timeout_seconds=1))
    assert {event["type"] for event in ended} == {"ADDED"}


@pytest.mark.parametrize(
    "kind, body, wanted",
    [
        ("application/json-patch+json", [{"op": "replace", "path": "/data/a", "value": "2"}], {"a": "2", "b": "1"}),
        ("application/merge-patch+json", {"data": {"a": None, "c": "3"}}, {"b": "1", "c": "3"}),
        ("application/strategic-merge-patch+json", {"data": {"a": "9"}}, {"a": "9", "b": "1"}),
    ],
)
def test_types_of_patches(core: client.CoreV1Api, namespace: str, kind: str, body: Any, wanted: Any) -> None:
    core.create_namespaced_config_map(namespace, config_map("p", a="1", b="1"))
    assert core.patch_namespaced_config_map("p", namespace, body, _content_type=kind).data == wanted


def test_server_side_apply(core: client.CoreV1Api, namespace: str) -> None:
    def apply(manager: str, value: str, **more: Any) -> client.V1ConfigMap:
        return core.patch_namespaced_config_map(
            "s", namespace, config_map("s", k=value), _content_type="application/apply-patch+yaml",
            field_manager=manager, **more,
        )  # fmt: skip

    made = apply("one", "1")
    assert [(m.manager, m.operation) for m in made.metadata.managed_fields] == [("one", "Apply")]
    assert apply("one", "1").metadata.resource_version == made.metadata.resource_version
    with pytest.raises(ApiException) as conflict:
        apply("two", "2")
    assert conflict.value.status == 409
    assert 'conflict with \\"one\\": .data.k' in conflict.value.body
    assert apply("two", "2", force=True).data == {"k": "2"}


def test_logs(core: client.CoreV1Api, running: str) -> None:
    assert core.read_namespaced_pod_log("box", running, container="main") == "one\ntwo\n"
    assert core.read_namespaced_pod_log("box", running, container="main", tail_lines=1) == "two\n"
    lines = watch.Watch().stream(
        core.read_namespaced_pod_log, name="box", namespace=running, container="main", _request_timeout=60
    )
    assert [next(lines), next(lines)] == ["one", "two"]
    with pytest.raises(ApiException) as refused:
        core.read_namespaced_pod_log("box", running)
    assert refused.value.status == 400
    assert "a container name must be specified for pod box, choose one of: [main web]" in refused.value.body


def test_exec(core: client.CoreV1Api, running: str) -> None:
    target = {"container": "main", "stdout": True, "stderr": True, "stdin": False, "tty": False}
    said = stream(core.connect_get_namespaced_pod_exec, "box", running, command=["hostname"], **target)
    assert said == "box\n"
    talk = stream(
        core.connect_get_namespaced_pod_exec,
        "box",
        running,
        command=["sh", "-c", "read x; echo got $x; echo bad >&2; exit 3"],
        _preload_content=False,
        **{**target, "stdin": True},
    )
    talk.write_stdin("word\n")
    talk.run_forever(timeout=30)
    assert (talk.read_stdout(), talk.read_stderr(), talk.returncode) == ("got word\n", "bad\n", 3)
    talk.close()
    with pytest.raises(ApiException) as refused:
        stream(core.connect_get_namespaced_pod_exec, "nope", running, command=["true"], **target)
    assert "404" in str(refused.value)


def test_exec_on_a_terminal(core: client.CoreV1Api, running: str) -> None:
    talk = stream(
        core.connect_get_namespaced_pod_exec, "box", running, container="main", command=["sh"],
        stdin=True, stdout=True, stderr=False, tty=True, _preload_content=False,
    )  # fmt: skip
    talk.write_channel(4, '{"Width":101,"Height":33}')
    talk.write_stdin("until stty size | grep 101; do sleep 0.1; done; exit\n")
    talk.run_forever(timeout=30)
    assert "33 101" in talk.read_stdout()
    talk.close()


def test_port_forward(core: client.CoreV1Api, running: str) -> None:
    forward = portforward(core.connect_get_namespaced_pod_portforward, "box", running, ports="8080")
    connection: socket.socket = forward.socket(8080)
    connection.settimeout(30)
    connection.sendall(b"GET /hostname HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answered = b""
    while part := connection.recv(65536):
        answered += part
    connection.close()
    assert answered.startswith(b"HTTP/1.1 200") and answered.endswith(b"box"), answered
    assert forward.error(8080) is None


def test_proxies(core: client.CoreV1Api, running: str) -> None:
    assert core.connect_get_namespaced_pod_proxy_with_path("box:8080", running, "hostname") == "box"
    service = {"metadata": {"name": "box"}, "spec": {"selector": {"app": "box"}, "ports": [{"port": 8080}]}}
    core.create_namespaced_service(running, service)

    def through() -> bool:
        try:
            return str(core.connect_get_namespaced_service_proxy_with_path("box:8080", running, "hostname")) == "box"
        except ApiException as error:
            assert error.status == 503, error
            return False

    until("the Service answers", through)


def test_scale_status_and_eviction(official: client.ApiClient, core: client.CoreV1Api, namespace: str) -> None:
    apps, policy = client.AppsV1Api(official), client.PolicyV1Api(official)
    apps.create_namespaced_deployment(namespace, deployment("web", 2))
    until("two are ready", lambda: apps.read_namespaced_deployment("web", namespace).status.ready_replicas == 2)
    assert apps.read_namespaced_deployment_scale("web", namespace).status.selector == "app=web"
    apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 1}})
    until("one is left", lambda: len(core.list_namespaced_pod(namespace).items) == 1)
    condition = {"type": "Mine", "status": "True", "reason": "Because", "message": "said"}
    changed = apps.patch_namespaced_deployment_status("web", namespace, {"status": {"conditions": [condition]}})
    assert "Mine" in {one.type for one in changed.status.conditions}
    before = core.list_namespaced_pod(namespace).items[0].metadata.name
    evicted = core.create_namespaced_pod_eviction(
        before, namespace, {"metadata": {"name": before}, "delete_options": {"gracePeriodSeconds": 0}}
    )
    assert evicted is not None
    until("another takes its place", lambda: before not in [p.metadata.name for p in _pods(core, namespace)])
    until("it is ready", lambda: apps.read_namespaced_deployment("web", namespace).status.ready_replicas == 1)
    policy.create_namespaced_pod_disruption_budget(
        namespace, {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}
    )
    until(
        "the budget is counted",
        lambda: policy.read_namespaced_pod_disruption_budget("b", namespace).status.current_healthy == 1,
    )
    name = _pods(core, namespace)[0].metadata.name
    with pytest.raises(ApiException) as kept:
        core.create_namespaced_pod_eviction(name, namespace, {"metadata": {"name": name}})
    assert kept.value.status == 429
    assert "Cannot evict pod as it would violate the pod's disruption budget." in kept.value.body


def _pods(core: client.CoreV1Api, namespace: str) -> list[Any]:
    return [pod for pod in core.list_namespaced_pod(namespace).items if not pod.metadata.deletion_timestamp]


def test_events(official: client.ApiClient, core: client.CoreV1Api, namespace: str) -> None:
    core.create_namespaced_pod(namespace, box())
    until("it is started", lambda: {"Scheduled", "Started"} <= _reasons(core, namespace))
    now = datetime.datetime.now(datetime.UTC)
    regarding = {"kind": "Pod", "name": "box", "namespace": namespace}
    client.EventsV1Api(official).create_namespaced_event(
        namespace,
        {
            "metadata": {"generateName": "mine-"},
            "eventTime": now.isoformat(),
            "type": "Normal",
            "reason": "Mine",
            "action": "Say",
            "note": "a word",
            "regarding": regarding,
            "reportingController": "tests/one",
            "reportingInstance": "one",
        },
    )
    mine = core.list_namespaced_event(namespace, field_selector="reason=Mine,involvedObject.name=box").items
    assert [(one.message, one.reporting_component) for one in mine] == [("a word", "tests/one")]


def _reasons(core: client.CoreV1Api, namespace: str) -> set[str]:
    return {event.reason for event in core.list_namespaced_event(namespace).items}


def test_discovery_and_versions(official: client.ApiClient) -> None:
    assert client.VersionApi(official).get_code().minor == "33"
    groups = {group.name for group in client.ApisApi(official).get_api_versions().groups}
    assert {"apps", "batch", "networking.k8s.io", "rbac.authorization.k8s.io"} <= groups
    served = {resource.name for resource in client.CoreV1Api(official).get_api_resources().resources}
    assert {"pods", "pods/exec", "services", "nodes"} <= served


def test_the_dynamic_client_and_a_definition(official: client.ApiClient, namespace: str) -> None:
    anything = dynamic.DynamicClient(official)
    definitions = anything.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    group = f"{namespace}.example.com"
    definitions.create(body=definition("things", "Thing", group))
    try:
        anything.resources.invalidate_cache()
        until("it is served", lambda: bool(anything.resources.search(group=group, kind="Thing")))
        things = anything.resources.get(api_version=f"{group}/v1", kind="Thing")
        body = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "x"}, "spec": {"size": 1}}
        made = things.create(body=body, namespace=namespace)
        assert made.spec.size == 1
        merge = "application/merge-patch+json"
        things.patch(body={"spec": {"size": 2}}, name="x", namespace=namespace, content_type=merge)
        things.status.patch(body={"status": {"seen": True}}, name="x", namespace=namespace, content_type=merge)
        found = things.get(name="x", namespace=namespace)
        assert (found.spec.size, found.status.seen) == (2, True)
        applied = things.server_side_apply(
            body={**body, "spec": {"size": 3}}, namespace=namespace, field_manager="me", force_conflicts=True
        )
        assert applied.spec.size == 3
        events = things.watch(namespace=namespace, timeout=1)
        assert [(event["type"], event["object"].metadata.name) for event in events] == [("ADDED", "x")]
        things.delete(name="x", namespace=namespace)
        assert things.get(namespace=namespace).items == []
    finally:
        definitions.delete(name=f"things.{group}")


def test_create_from_yaml(official: client.ApiClient, core: client.CoreV1Api, namespace: str) -> None:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    }
    objects = [config_map("y", a="b"), deployment("y", 0), role]
    made = utils.create_from_yaml(official, yaml_objects=objects, namespace=namespace)
    assert [type(one[0]).__name__ for one in made] == ["V1ConfigMap", "V1Deployment", "V1Role"]
    with pytest.raises(utils.FailToCreateError, match="AlreadyExists"):
        utils.create_from_yaml(official, yaml_objects=[config_map("y")], namespace=namespace)
    assert yaml.safe_load(yaml.safe_dump(core.read_namespaced_config_map("y", namespace).data)) == {"a": "b"}


def test_leader_election(official: client.ApiClient, namespace: str) -> None:
    """Two candidates: one leads; when it stops to renew, the other takes over."""
    leading: list[str] = []
    dumb: set[str] = set()

    class EndedError(Exception):
        pass

    class Mortal(LeaseLock):  # type: ignore[misc]
        """A lock whose holder can be struck dumb."""

        def get(self, *arguments: Any) -> Any:
            if self.identity in dumb:
                raise EndedError
            return super().get(*arguments)

    def candidate(name: str) -> threading.Thread:
        lock = Mortal("lead", namespace, name)
        lock.api_instance = client.CoordinationV1Api(official)
        wanted = electionconfig.Config(
            lock, lease_duration=4, renew_deadline=3, retry_period=1,
            onstarted_leading=lambda: leading.append(name), onstopped_leading=lambda: None,
        )  # fmt: skip

        def run() -> None:
            try:
                leaderelection.LeaderElection(wanted).run()
            except EndedError:
                return

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    client.Configuration.set_default(official.configuration)
    first = candidate("first")
    until("the first leads", lambda: leading == ["first"])
    second = candidate("second")
    time.sleep(1)
    assert leading == ["first"]
    dumb.add("first")
    first.join(30)
    until("the second leads", lambda: leading == ["first", "second"])
    dumb.add("second")
    second.join(30)
    lease = client.CoordinationV1Api(official).read_namespaced_lease("lead", namespace)
    assert lease.spec.holder_identity == "second"


def test_tokens_of_service_accounts(official: client.ApiClient, core: client.CoreV1Api, namespace: str) -> None:
    """A bound token works while its account lives, as far as roles go, and no longer."""
    core.create_namespaced_service_account(namespace, {"metadata": {"name": "robot"}})
    token = core.create_namespaced_service_account_token("robot", namespace, {"spec": {"expirationSeconds": 600}})
    binding = {
        "metadata": {"name": "robot"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": namespace}],
    }
    client.RbacAuthorizationV1Api(official).create_namespaced_role_binding(namespace, binding)
    configuration = client.Configuration()
    configuration.host, configuration.ssl_ca_cert = official.configuration.host, official.configuration.ssl_ca_cert
    configuration.api_key["authorization"] = f"Bearer {token.status.token}"
    with client.ApiClient(configuration) as connected:
        robot = client.CoreV1Api(connected)
        assert robot.list_namespaced_config_map(namespace).items
        with pytest.raises(ApiException) as forbidden:
            robot.create_namespaced_config_map(namespace, config_map("no"))
        assert forbidden.value.status == 403
        who = client.AuthenticationV1Api(connected).create_self_subject_review({})
        assert who.status.user_info.username == f"system:serviceaccount:{namespace}:robot"
        core.delete_namespaced_service_account("robot", namespace)
        with pytest.raises(ApiException) as unknown:
            robot.list_namespaced_config_map(namespace)
        assert unknown.value.status == 401
        connected.rest_client.pool_manager.clear()


def test_what_python_itself_gets(official: client.ApiClient) -> None:
    """No client at all: urllib with the lab's certificate authority."""
    import ssl

    context = ssl.create_default_context(cafile=official.configuration.ssl_ca_cert)
    with urllib.request.urlopen(f"{official.configuration.host}/version", context=context, timeout=30) as response:
        assert response.headers["Content-Type"] == "application/json"
        assert b"gitVersion" in response.read()
