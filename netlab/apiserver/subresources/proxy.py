"""proxy: HTTP through the API server to a pod, a Service's endpoint, or a node (apimachinery/pkg/util/proxy)."""

from netlab.api import errors, meta
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.apiserver.api import Api
from netlab.apiserver.subresources.kubelet import take_over
from netlab.apiserver.wire.message import Answer, Request, TakeOver


async def pod(api: Api, request: Request, resource: Resource) -> Answer:
    scheme, name, port = split(request.info.name)
    found = api.read("v1", "Pod", request.info.namespace, name)
    if found is None:
        raise errors.not_found(resource, name)
    address = meta.get(found, "status", "podIP", default="")
    if not address:
        raise errors.bad_request("address not allowed")
    number = _port_of_pod(found, port)
    return _taken(request, str(address), number, scheme)


async def service(api: Api, request: Request, resource: Resource) -> Answer:
    scheme, name, port = split(request.info.name)
    found = api.read("v1", "Service", request.info.namespace, name)
    if found is None:
        raise errors.not_found(resource, name)
    wanted = _service_port(found, port)
    if wanted is None:
        raise errors.service_unavailable(f"no service port {errors.quote(port)} found for service {errors.quote(name)}")
    endpoint = _endpoint(api, request.info.namespace, name, str(wanted.get("name", "")))
    if endpoint is None:
        raise errors.service_unavailable(f"no endpoints available for service {errors.quote(name)}")
    return _taken(request, *endpoint, scheme)


async def node(api: Api, request: Request, resource: Resource) -> Answer:
    _, name, _ = split(request.info.name)
    return take_over(api, name, _path(request))


def split(text: str) -> tuple[str, str, str]:
    """(scheme, name, port) of `[scheme:]name[:port]` (utilnet.SplitSchemeNamePort)."""
    parts = text.split(":")
    if len(parts) == 1:
        return "", parts[0], ""
    if len(parts) == 2:
        return "", parts[0], parts[1]
    if len(parts) == 3 and parts[0] in ("http", "https", ""):
        return parts[0], parts[1], parts[2]
    raise errors.bad_request(f"invalid pod request {errors.quote(text)}")


def _taken(request: Request, host: str, port: int, scheme: str) -> TakeOver:
    rest = "/" + request.info.rest
    prefix = request.info.path.removesuffix(rest).removesuffix("/")
    headers = {"X-Forwarded-Uri": prefix + rest}
    return TakeOver(host, port, _path(request), tls=scheme == "https", headers=headers, prefix=prefix)


def _path(request: Request) -> str:
    path = "/" + request.info.rest
    return f"{path}?{request.raw_query}" if request.raw_query else path


def _port_of_pod(found: Obj, port: str) -> int:
    if port.isdecimal():
        return int(port)
    for container in found["spec"].get("containers") or []:
        for declared in container.get("ports") or []:
            if declared.get("protocol", "TCP") == "TCP" and (not port or declared.get("name") == port):
                return int(declared["containerPort"])
    return 80


def _service_port(found: Obj, port: str) -> Obj | None:
    ports: list[Obj] = meta.get(found, "spec", "ports", default=[])
    if not port:
        return ports[0] if len(ports) == 1 else None
    return next((p for p in ports if p.get("name") == port or str(p.get("port")) == port), None)


def _endpoint(api: Api, namespace: str, name: str, port_name: str) -> tuple[str, int] | None:
    """A ready address and the port's number behind it, from the Service's EndpointSlices."""
    for found in api.read_all("discovery.k8s.io/v1", "EndpointSlice", namespace):
        if meta.labels(found).get("kubernetes.io/service-name") != name:
            continue
        number = next((p.get("port") for p in found.get("ports") or [] if p.get("name", "") == port_name), None)
        for endpoint in found.get("endpoints") or []:
            if number and meta.get(endpoint, "conditions", "ready", default=True):
                return str(endpoint["addresses"][0]), int(number)
    return None
