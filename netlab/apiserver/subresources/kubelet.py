"""Subresources of pods that the node answers: log, exec, attach, portforward (pkg/registry/core/pod/rest).

The connection is handed on to the kubelet with its paths and parameters; whatever protocol is spoken inside (SPDY/3.1,
WebSocket, plain chunks) passes through as bytes.
"""

import json
from urllib.parse import parse_qsl, urlencode

from netlab.api import errors, meta
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.apiserver.api import Api
from netlab.apiserver.storage import load
from netlab.apiserver.wire.message import Answer, Request, Response, TakeOver

_LOG_OPTIONS = frozenset(
    {"follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream"}
)
_STREAM_OPTIONS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
_TRUE = frozenset({"true", "1", "t", "T", "TRUE", "True"})


async def log(api: Api, request: Request, resource: Resource) -> Answer:
    pod = _pod(api, request, resource)
    container = _container(pod, request.query.get("container", ""), resource, "a container name must be specified")
    options = [(key, value) for key, value in parse_qsl(request.raw_query) if key in _LOG_OPTIONS]
    place = f"{meta.namespace(pod)}/{meta.name(pod)}/{container}"
    if not meta.get(pod, "spec", "nodeName"):
        return Response(204, b"")  # without a node there is nothing to stream, as upstream's StreamObject answers
    return node_take_over(api, pod, f"/containerLogs/{place}?{urlencode(options)}")


async def exec_(api: Api, request: Request, resource: Resource) -> Answer:
    pod = _pod(api, request, resource)
    _refuse_finished(pod)
    pairs = parse_qsl(request.raw_query, keep_blank_values=True)
    options = [("command", value) for key, value in pairs if key == "command"]
    if not options:
        raise errors.bad_request("you must specify at least one command for the container")
    return _stream(api, request, resource, pod, "exec", options)


async def attach(api: Api, request: Request, resource: Resource) -> Answer:
    pod = _pod(api, request, resource)
    _refuse_finished(pod)
    return _stream(api, request, resource, pod, "attach", [])


async def portforward(api: Api, request: Request, resource: Resource) -> Answer:
    pod = _pod(api, request, resource)
    _scheduled(pod)
    ports = _ports(request)
    path = f"/portForward/{meta.namespace(pod)}/{meta.name(pod)}"
    return node_take_over(api, pod, f"{path}?{urlencode({'port': ','.join(ports)})}" if ports else path)


def _ports(request: Request) -> list[str]:
    """PodPortForwardOptions: the parameter may be repeated, and hold several (Convert_Slice_string_To_Slice_int32)."""
    found = []
    for key, value in parse_qsl(request.raw_query, keep_blank_values=True):
        for port in value.split(",") if key == "ports" else ():
            if not (port.isascii() and port.isdecimal()):
                problem = "invalid syntax"
            elif int(port[:6]) > 65535:
                problem = "value out of range"
            else:
                found.append(str(int(port)))
                continue
            raise errors.bad_request(
                f"cannot convert to []int32: strconv.ParseUint: parsing {json.dumps(port)}: {problem}"
            )
    return found


def _stream(
    api: Api, request: Request, resource: Resource, pod: Obj, verb: str, options: list[tuple[str, str]]
) -> Answer:
    _scheduled(pod)
    container = _container(pod, request.query.get("container", ""), resource, "a container name must be specified")
    for asked, name in _STREAM_OPTIONS.items():
        if request.query.get(asked, "") in _TRUE:
            options.append((name, "1"))
    path = f"/{verb}/{meta.namespace(pod)}/{meta.name(pod)}/{container}"
    return node_take_over(api, pod, f"{path}?{urlencode(options)}")


def _pod(api: Api, request: Request, resource: Resource) -> Obj:
    stored = api.stored(resource)
    item = api.store.get(stored.key(request.info.namespace, request.info.name))
    if item is None:
        raise errors.not_found(resource, request.info.name)
    return load(item, stored)


def _container(pod: Obj, asked: str, resource: Resource, missing: str) -> str:
    spec, name = pod["spec"], meta.name(pod)
    groups = [spec.get(kind) or [] for kind in ("containers", "initContainers", "ephemeralContainers")]
    names: list[list[str]] = [[container["name"] for container in group] for group in groups]
    if asked:
        if not any(asked in group for group in names):
            raise errors.bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    main, init, _ = names
    if len(main) == 1:
        return main[0]
    chosen = meta.annotations(pod).get("kubectl.kubernetes.io/default-container", "")
    if chosen in main:
        return chosen
    message = f"{missing} for pod {name}, choose one of: [{' '.join(main)}]"
    if init:
        message += f" or one of the init containers: [{' '.join(init)}]"
    raise errors.bad_request(message)


def _refuse_finished(pod: Obj) -> None:
    phase = meta.get(pod, "status", "phase", default="")
    if phase in ("Succeeded", "Failed"):
        raise errors.bad_request(f"cannot exec into a container in a completed pod; current phase is {phase}")


def _scheduled(pod: Obj) -> None:
    if not meta.get(pod, "spec", "nodeName"):
        raise errors.bad_request(f"pod {meta.name(pod)} does not have a host assigned")


def node_take_over(api: Api, pod: Obj, path: str) -> TakeOver:
    """Hand the connection to the kubelet of the pod's node."""
    return take_over(api, str(pod["spec"]["nodeName"]), path)


def take_over(api: Api, node_name: str, path: str) -> TakeOver:
    """Raises 500 in upstream's words when the node is not there or has no address."""
    node = api.read("v1", "Node", "", node_name)
    if node is None:
        raise errors.internal(f'error getting node: nodes "{node_name}" not found')
    addresses = meta.get(node, "status", "addresses", default=[])
    by_type = {entry.get("type"): entry.get("address") for entry in addresses}
    host = by_type.get("InternalIP") or by_type.get("ExternalIP") or by_type.get("Hostname")
    if not host:
        raise errors.internal(f"no preferred addresses found; known addresses: {addresses}")
    port = meta.get(node, "status", "daemonEndpoints", "kubeletEndpoint", "Port", default=0)
    return TakeOver(str(host), int(port or api.config.kubelet_port), path)
