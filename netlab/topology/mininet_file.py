"""Mininet custom topologies (`topos = {...}` in a Python file) as clusters.

The file is run, as `mn --custom` does; it imports Mininet by itself, this module does not. The Topo object it makes is
read through its own methods (`hosts`, `switches`, `links(withInfo=True)`, `nodeInfo`):

- Hosts become cluster nodes, switches become bridges. The first host is the control plane, unless one has the option
  `role='control-plane'` or is named master, control-plane, cp or controlplane.
- `addHost(..., role='host')` stays outside the cluster, `role='router'` forwards (as does a host whose class is named
  like a router, or that has ip_forward set). `labels={...}` on a host are the node's labels.
- Link options bw (Mbit/s), delay, jitter, loss (percent), mtu; intfName1/2, addr1/2 and params1/2['ip'] are honoured.
- Addresses in 10.0.0.0/8 are Mininet's default and would cover pods and Services: prefixes are narrowed to the segment.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from netlab.topology import units
from netlab.topology.document import Place, did_you_mean
from netlab.topology.draft import Draft, DraftEnd, DraftLink, DraftMachine, DraftSwitch
from netlab.topology.model import Host, Node, Router, StaticRoute, Switch

_CONTROL_PLANE_NAMES = ("master", "control-plane", "controlplane", "cp")


class Topo(Protocol):
    """What is used of mininet.topo.Topo."""

    def hosts(self, sort: bool = True) -> list[str]: ...
    def switches(self, sort: bool = True) -> list[str]: ...
    def links(self, sort: bool = False, withKeys: bool = False, withInfo: bool = False) -> list[Any]: ...  # noqa: N803
    def nodeInfo(self, name: str) -> Mapping[str, Any]: ...  # noqa: N802


def read(path: Path, selector: str = "") -> Draft:
    """The draft of a topology file; `selector` is "", "name" or "name,arg,key=value" as after `mn --topo`."""
    place = Place(str(path))
    topos = _run(path, place)
    words = [word for word in selector.split(",") if word]
    name = words.pop(0) if words and words[0].isidentifier() else ""
    if name and name not in topos:
        raise place.error(f"no topology {name!r} in it", did_you_mean(name, topos))
    if not name:
        if len(topos) == 1:
            name = next(iter(topos))
        elif path.stem in topos:
            name = path.stem
        else:
            which = f"it has several topologies: {', '.join(topos)}"
            raise place.error(which, f"choose one as in {path.name}:{next(iter(topos))}")
    args, kwargs = _arguments(words)
    try:
        topo = topos[name](*args, **kwargs)
    except Exception as error:
        raise _user_error(error, path, f"topos[{name!r}]") from error
    return from_topo(topo, name if _plain(name) else path.stem, str(path))


def _plain(name: str) -> bool:
    return name.isalnum() and name.islower()


def _run(path: Path, place: Place) -> dict[str, Callable[..., Topo]]:
    import runpy

    try:
        module = runpy.run_path(str(path), run_name="netlab_custom_topology")
    except (Exception, SystemExit) as error:
        raise _user_error(error, path, "") from error
    topos = module.get("topos")
    if not isinstance(topos, dict) or not topos or not all(callable(maker) for maker in topos.values()):
        raise place.error(
            "it defines no topologies, expected a dict `topos` of callables", "as in topos = {'mytopo': MyTopo}"
        )
    return topos


def _user_error(error: BaseException, path: Path, key: str) -> Exception:
    """The error in the user's file, with the line in it that was running."""
    lines = [frame.lineno or 0 for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = lines[-1] if lines else (error.lineno or 0 if isinstance(error, SyntaxError) else 0)
    return Place(str(path), line, 0, key).error(f"running it failed: {type(error).__name__}: {error}")


def _arguments(words: list[str]) -> tuple[list[Any], dict[str, Any]]:
    """`2`, `k=4`, `name=x` to arguments; what looks like a number is one, as in Mininet."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals:
            kwargs[key] = _number(value)
        else:
            args.append(_number(word))
    return args, kwargs


def _number(text: str) -> int | float | str:
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def from_topo(topo: Topo, name: str, file: str) -> Draft:
    """The draft of a Topo object, which is only asked, never changed."""
    draft = Draft(name, Place(file), narrow_subnets=True)
    hosts = topo.hosts(sort=False)
    _add_machines(topo, hosts, draft)
    for switch in topo.switches(sort=False):
        options = topo.nodeInfo(switch)
        cls = getattr(options.get("cls"), "__name__", "")
        kind: Any = "ovs" if options.get("kind") == "ovs" or cls.startswith("OVS") else "bridge"
        draft.add_switch(DraftSwitch(Switch(switch, kind), Place(file, key=f"switch {switch}"), options.get("subnet")))
    for index, (first, second, info) in enumerate(topo.links(sort=True, withInfo=True)):
        draft.links.append(_link(topo, index, first, second, info, file))
    return draft


def _add_machines(topo: Topo, hosts: list[str], draft: Draft) -> None:
    infos = {host: topo.nodeInfo(host) for host in hosts}
    members = [host for host in hosts if _kind(infos[host]) == "node"]
    named = [host for host in members if infos[host].get("role") == "control-plane"]
    named = named or [host for host in members if host in _CONTROL_PLANE_NAMES] or members[:1]
    for host in hosts:
        info, place = infos[host], Place(draft.place.file, key=f"host {host}")
        kind, routes = _kind(info), _routes(info)
        machine: Node | Host | Router
        if kind == "router":
            machine = Router(host, routes)
        elif kind == "host":
            machine = Host(host, routes)
        else:
            machine = Node(host, "control-plane" if host in named else "worker", routes=routes)
            machine = replace(machine, labels={str(k): str(v) for k, v in dict(info.get("labels") or {}).items()})
        draft.add_machine(DraftMachine(machine, place, route_places=tuple(place for _ in routes)))


def _kind(info: Mapping[str, Any]) -> str:
    role = info.get("role")
    if role in ("host", "router"):
        return str(role)
    cls = getattr(info.get("cls"), "__name__", "")
    return "router" if "router" in cls.lower() or info.get("ip_forward") else "node"


def _routes(info: Mapping[str, Any]) -> tuple[StaticRoute, ...]:
    """Mininet's `defaultRoute='via 10.0.1.1'`."""
    words = str(info.get("defaultRoute") or "").split()
    return (StaticRoute("default", words[words.index("via") + 1]),) if "via" in words[:-1] else ()


def _link(topo: Topo, index: int, first: str, second: str, info: Mapping[str, Any], file: str) -> DraftLink:
    place = Place(file, key=f"link {first}-{second}")
    # The pair may be sorted, the numbered options follow the order in which the link was added.
    names = (info.get("node1", first), info.get("node2", second))
    switches = set(topo.switches(sort=False))
    ends = [_end(topo, name, info, number, place, name in switches) for number, name in zip((1, 2), names, strict=True)]
    link = DraftLink(place, ends[0], ends[1])
    if info.get("bw") is not None:
        link.bandwidth_bps = int(float(info["bw"]) * 1_000_000)
    link.delay_s = _time(info.get("delay"), "delay", place)
    link.jitter_s = _time(info.get("jitter"), "jitter", place)
    if info.get("loss"):
        loss = units.parse_share(f"{info['loss']}%")
        if loss is None:
            raise place.error(f"loss {info['loss']!r} is no percentage from 0 to 100")
        link.loss = loss
    if info.get("mtu") is not None:
        link.mtu = int(info["mtu"])
    link.subnet, link.subnet_place = info.get("subnet"), place
    return link


def _time(value: Any, what: str, place: Place) -> float:
    """Mininet hands delays to tc: "5ms", and a plain number is microseconds there."""
    if value in (None, "", 0):
        return 0.0
    text = f"{value}us" if isinstance(value, int | float) or str(value).replace(".", "", 1).isdigit() else str(value)
    seconds = units.parse_time(text)
    if seconds is None:
        raise place.error(f"{what} {value!r} is no time, expected {units.TIME_HELP}")
    return seconds


def _end(topo: Topo, name: str, info: Mapping[str, Any], number: int, place: Place, is_switch: bool) -> DraftEnd:
    params = info.get(f"params{number}") or {}
    interface = info.get(f"intfName{number}")
    if is_switch:
        return DraftEnd(place, name, interface)
    address = params.get("ip")
    options = topo.nodeInfo(name)
    if address is None and not _has_earlier_link(topo, name, info):
        address = options.get("ip")
    mac = info.get(f"addr{number}") or (options.get("mac") if not _has_earlier_link(topo, name, info) else None)
    return DraftEnd(place, name, interface, address, mac)


def _has_earlier_link(topo: Topo, name: str, info: Mapping[str, Any]) -> bool:
    """Whether this is not the host's first link: a host's own ip and mac are those of its first interface."""
    for first, second, other in topo.links(sort=True, withInfo=True):
        if name in (first, second):
            return other is not info
    return False
