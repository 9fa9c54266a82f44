"""What a user's words for SRC and DST mean. PURE.

SRC: `[pod/][NAMESPACE/]NAME`, a machine of the topology (`node/NAME`, `host/NAME`, or the name alone where no pod is
called so), or `outside`, the topology's last host. DST: the same, `svc/[NAMESPACE/]NAME`, a DNS name, or an address;
with `:PORT`, a number or a Service port's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from netlab.api.addresses import is_address
from netlab.api.types import Obj
from netlab.lab.diagnosis.model import Objects, Place, Target
from netlab.lab.record import LabError
from netlab.topology.model import Topology

OUTSIDE = "outside"


def key(obj: Obj) -> str:
    """namespace/name"""
    return f"{obj['metadata'].get('namespace') or 'default'}/{obj['metadata']['name']}"


def pod_place(pod: Obj) -> Place:
    """Where a pod's sockets are: its own namespace, or its node's (hostNetwork)."""
    uid, node = pod["metadata"]["uid"], (pod.get("spec") or {}).get("nodeName") or ""
    own = f"cni-{uid.replace('-', '')[:12]}"
    netns = node if (pod.get("spec") or {}).get("hostNetwork") else own
    return Place("pod", key(pod), netns, (pod.get("status") or {}).get("podIP") or "", node, uid)


def machine_place(topology: Topology, name: str) -> Place | None:
    """A node, host or router of the topology."""
    for kind, group in (("node", topology.nodes), ("host", topology.hosts), ("router", topology.routers)):
        if any(one.name == name for one in group):
            try:
                ip = topology.node_ip(name)
            except KeyError:
                ip = ""
            return Place(kind, name, name, ip, name if kind == "node" else "")  # type: ignore[arg-type]
    return None


def machine_names(topology: Topology) -> list[str]:
    return [one.name for group in (topology.nodes, topology.hosts, topology.routers) for one in group]


def source(text: str, topology: Topology, objects: Objects) -> Place:
    """The place meant by SRC. LabError (status 2) with what there is."""
    if text == OUTSIDE:
        return _outside(topology)
    prefix, _, rest = text.partition("/")
    if prefix in ("node", "host", "router"):
        found = machine_place(topology, rest)
        if found is None:
            raise LabError(_unknown(rest, topology, objects), 2)
        return found
    pods = _running(objects)
    name = rest if prefix == "pod" and rest else text
    name = name if "/" in name else f"default/{name}"
    if name in pods:
        return pod_place(pods[name])
    found = machine_place(topology, text)
    if found is None:
        raise LabError(_unknown(text, topology, objects), 2)
    return found


def _outside(topology: Topology) -> Place:
    for host in reversed(topology.hosts):
        found = machine_place(topology, host.name)
        if found is not None and found.ip:
            return found
    raise LabError(f"topology '{topology.name}' has no host outside the cluster", 2)


def _running(objects: Objects) -> Mapping[str, Obj]:
    return {
        key(pod): pod
        for pod in objects.pods
        if (pod.get("status") or {}).get("podIP") and (pod["status"].get("phase") not in ("Succeeded", "Failed"))
    }


def _unknown(text: str, topology: Topology, objects: Objects) -> str:
    name = text.rpartition("/")[2]
    names = [*machine_names(topology), *(one["metadata"]["name"] for one in objects.pods), OUTSIDE]
    close = get_close_matches(name, names, 1)
    hint = f"; did you mean '{close[0]}'?" if close else "; 'klab kubectl get pods -A' and 'klab status' list them"
    known = {key(pod) for pod in objects.pods}
    full = name if "/" in text else f"default/{name}"
    if full in known:
        return f"pod '{full}' does not run; 'klab kubectl describe pod {name}' says why"
    return f"no running pod or machine '{text}'{hint}"


def target(text: str, place: Place, topology: Topology, objects: Objects) -> Target:
    """What DST means for someone at `place`. A Service that does not exist is one: that is then what is wrong."""
    host, port = _split(text)
    if port.isdigit() and not 0 < int(port) < 65536:
        raise LabError(f"'{port}' is no port: a number from 1 to 65535, or a port's name in the Service", 2)
    found = _target(host, port, place, topology, objects)
    if found.port_name and found.kind in ("address", "machine"):
        raise LabError(f"'{found.port_name}' is no port number, and {host} has no ports by names", 2)
    return found


def _target(host: str, port: str, place: Place, topology: Topology, objects: Objects) -> Target:
    number = int(port) if port.isdigit() else None
    name = "" if port.isdigit() else port
    if is_address(host):
        return Target("address", host, number, name)
    prefix, _, rest = host.partition("/")
    namespace = place.name.partition("/")[0] if place.kind == "pod" else "default"
    if prefix in ("svc", "service", "services") and rest:
        return Target("service", _full(rest, namespace), number, name, _ask(rest, namespace))
    if prefix == "pod" and rest:
        return Target("pod", _full(rest, namespace), number, name)
    if prefix in ("node", "host", "router") and rest:
        return Target("machine", rest, number, name)
    if host == OUTSIDE:
        return Target("machine", _outside(topology).name, number, name)
    return _plain(host, namespace, Target("name", host, number, name, host), topology, objects)


def _plain(host: str, namespace: str, default: Target, topology: Topology, objects: Objects) -> Target:
    """A name without a prefix: a Service, a pod, a machine, a Service that should be, a foreign name."""
    port, port_name = default.port, default.port_name
    services = {key(one) for one in objects.services}
    wanted = service_of(host, namespace, topology.cluster.dns_domain)
    if wanted in services:
        return Target("service", wanted, port, port_name, host.replace("/", "."))
    pods = {key(one) for one in objects.pods}
    if _full(host, namespace) in pods:
        return Target("pod", _full(host, namespace), port, port_name)
    if host in machine_names(topology):
        return Target("machine", host, port, port_name)
    if host in topology.names:
        raise LabError(f"'{host}' is a switch: it has no address", 2)
    foreign = wanted is None or (host.count(".") == 1 and not _namespace_known(host.partition(".")[2], objects))
    if foreign:
        return default
    return Target("service", str(wanted), port, port_name, host.replace("/", "."))


def _namespace_known(name: str, objects: Objects) -> bool:
    """Whether anything lives in it; `default` and those of the system always count."""
    return name in ("default", "kube-system", "kube-public") or any(
        one["metadata"].get("namespace") == name for one in (*objects.services, *objects.pods)
    )


def service_of(name: str, namespace: str, domain: str) -> str | None:
    """The Service that a DNS name (or namespace/name) can mean in a namespace; None for a name of another shape."""
    if "/" in name:
        return name
    labels = name.rstrip(".").removesuffix(f".{domain}").split(".")
    if len(labels) >= 3 and labels[2] == "svc" and len(labels) == 3:
        return f"{labels[1]}/{labels[0]}"
    if len(labels) == 2:
        return f"{labels[1]}/{labels[0]}"
    return f"{namespace}/{labels[0]}" if len(labels) == 1 else None


def candidates(name: str, resolv: str) -> list[str]:
    """The absolute names that a resolver with this resolv.conf tries for `name`, in order (resolv.conf(5), ndots)."""
    search, ndots = [], 1
    for line in resolv.splitlines():
        words = line.split()
        if words[:1] == ["search"]:
            search = words[1:]
        elif words[:1] == ["options"]:
            ndots = next((int(w[6:]) for w in words if w.startswith("ndots:") and w[6:].isdigit()), ndots)
    if name.endswith("."):
        return [name]
    listed = [f"{name}.{domain.rstrip('.')}." for domain in search]
    return [*listed, f"{name}."] if name.count(".") < ndots else [f"{name}.", *listed]


def nameservers(resolv: str) -> list[str]:
    """In the order of the file."""
    lines = (line.split() for line in resolv.splitlines())
    return [words[1] for words in lines if words[:1] == ["nameserver"] and len(words) > 1]


def _split(text: str) -> tuple[str, str]:
    """Host and port (or ""), of "host:port", "[v6]:port", or either alone."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest.removeprefix(":")
    if text.count(":") > 1 and is_address(text):
        return text, ""
    host, _, port = text.partition(":")
    return host, port


def _full(name: str, namespace: str) -> str:
    return name if "/" in name else f"{namespace}/{name}"


def _ask(name: str, namespace: str) -> str:
    other, _, short = name.rpartition("/")
    return f"{short}.{other}" if other and other != namespace else short
