"""The YAML schema of a topology (documented for users in topologies/README.md), read into a `Draft`.

    name: NAME                     # default: the file's name
    cluster: {podCIDR, nodePrefix, serviceCIDR, dnsIP, dnsDomain, overlay, proxyMode, underlayCIDR, loadBalancerPool, …}
    defaults: {link: {...}, node: {...}}
    nodes:    {NAME: {role, labels, taints, capacity: {cpu, memory, pods}, unschedulable, proxyMode, routes}}
    switches: {NAME: {kind, subnet}}
    routers:  {NAME: {routes}}
    hosts:    {NAME: {routes, resolver: {NAME: ADDRESS}}}
    links:    [{ends: [END, END], bandwidth, delay, jitter, loss, mtu, subnet}]

END is `name`, `name:interface`, or `{node, interface, address, mac}`. `NAME1..9` stands for NAME1, NAME2, … NAME9, as a
key and as an end. Only syntax and types are judged here; what depends on the whole is judged in `checks`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from ipaddress import ip_address
from pathlib import PurePath
from typing import Any, get_args

from netlab.topology import names, pool, units
from netlab.topology.document import Place, Value, parse
from netlab.topology.draft import Draft, DraftEnd, DraftLink, DraftMachine, DraftSwitch
from netlab.topology.model import (
    Capacity,
    Cluster,
    Effect,
    Host,
    IpvsScheduler,
    Node,
    Overlay,
    ProxyMode,
    Role,
    Router,
    StaticRoute,
    Switch,
    SwitchKind,
    Taint,
    family_of,
)

_TOP = ("name", "cluster", "defaults", "nodes", "switches", "routers", "hosts", "links")
_CLUSTER_TEXT = {
    "dnsIP": "dns_ip",
    "dnsDomain": "dns_domain",
}
_CLUSTER_PAIR = {"podCIDR": "pod_cidr", "serviceCIDR": "service_cidr"}
_CLUSTER_CHOICE = {
    "overlay": ("overlay", get_args(Overlay)),
    "proxyMode": ("proxy_mode", get_args(ProxyMode)),
    "ipvsScheduler": ("ipvs_scheduler", get_args(IpvsScheduler)),
}
_CLUSTER = (
    *_CLUSTER_PAIR,
    *_CLUSTER_TEXT,
    *_CLUSTER_CHOICE,
    "underlayCIDR",
    "nodePrefix",
    "nodePrefixV6",
    "ipvsStrictARP",
    "loadBalancerPool",
    "nodeLocalDNS",
    "compactionInterval",
)
_NODE = ("role", "labels", "taints", "capacity", "unschedulable", "proxyMode", "routes")
_LINK = ("ends", "bandwidth", "delay", "jitter", "loss", "mtu", "subnet")
_LINK_DEFAULTS = ("bandwidth", "delay", "jitter", "loss", "mtu")
_END = ("node", "interface", "address", "mac")
_MEASURES: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "bandwidth": ("bandwidth_bps", units.parse_rate, units.RATE_HELP),
    "delay": ("delay_s", units.parse_time, units.TIME_HELP),
    "jitter": ("jitter_s", units.parse_time, units.TIME_HELP),
    "loss": ("loss", units.parse_share, units.SHARE_HELP),
}


def read(text: str, file: str) -> Draft:
    """The draft that a YAML text describes; `file` is for messages and the default name."""
    root = parse(text, file)
    top = root.mapping("a topology", _TOP)
    draft = Draft(PurePath(file).stem or "lab", root.place)
    if "name" in top:
        draft.name = top["name"].text("the topology's name")
        if not names.is_node_name(draft.name):
            raise top["name"].place.error(f"{draft.name!r} is no name", "use a-z, 0-9 and '-', as in 'my-lab'")
    if "cluster" in top:
        _read_cluster(top["cluster"], draft)
    defaults = top["defaults"].mapping("defaults", ("link", "node")) if "defaults" in top else {}
    node_defaults = defaults["node"].mapping("defaults of nodes", _NODE) if "node" in defaults else {}
    link_defaults = defaults["link"].mapping("defaults of links", _LINK_DEFAULTS) if "link" in defaults else {}
    for section, reader in (("switches", _read_switch), ("routers", _read_router), ("hosts", _read_host)):
        for name, value in _named(top.get(section), section):
            reader(name, value, draft)
    for name, value in _named(top.get("nodes"), "nodes"):
        _read_node(name, value, node_defaults, draft)
    for item in top["links"].sequence("a list of links") if "links" in top else []:
        draft.links.extend(_read_links(item, link_defaults))
    return draft


def _named(section: Value | None, what: str) -> list[tuple[str, Value]]:
    """The entries of a section by name, ranges written out. A plain list of names is a section without details."""
    if section is None:
        return []
    if section.is_mapping or section.is_null:
        pairs = list(section.mapping(what).items())
    else:
        pairs = [(item.text(f"a name in {what}"), item) for item in section.sequence(f"{what}, by name")]
    return [(name, value) for key, value in pairs for name in _expanded(key, value.place)]


def _expanded(key: str, place: Place) -> tuple[str, ...]:
    expanded = names.expand(key)
    if expanded is None:
        raise place.error(f"the range {key!r} runs backwards or is too long", "write it as in node1..9")
    return expanded


def _details(value: Value, what: str, known: tuple[str, ...]) -> dict[str, Value]:
    """The details of a named entry; an entry of a plain list of names has none."""
    return {} if not value.is_mapping and value.place.key.endswith("]") else value.mapping(what, known)


def _read_cluster(value: Value, draft: Draft) -> None:
    entries = value.mapping("the cluster", _CLUSTER)
    changes: dict[str, Any] = {}
    for key, item in entries.items():
        draft.cluster_places[key] = item.place
        if key == "nodePrefix":
            changes["node_prefix"] = item.integer("the prefix length of a node's subnet", 8, 30)
        elif key == "nodePrefixV6":
            changes["node_prefix6"] = item.integer("the prefix length of a node's IPv6 subnet", 16, 120)
        elif key == "ipvsStrictARP":
            changes["ipvs_strict_arp"] = item.boolean(key)
        elif key == "nodeLocalDNS":
            changes["node_local_dns"] = item.boolean(key)
        elif key == "compactionInterval":
            changes["compaction_interval_s"] = _interval(item, key)
        elif key == "loadBalancerPool":
            changes["load_balancer_pool"] = _read_pool(item)
        elif key in _CLUSTER_PAIR:
            changes[_CLUSTER_PAIR[key]] = ",".join(_one_or_two(item, key))
        elif key == "underlayCIDR":
            first, second = _by_family(item, key)
            changes |= {"underlay_cidr": first} if first else {}
            changes |= {"underlay_cidr6": second} if second else {}
        elif key in _CLUSTER_TEXT:
            changes[_CLUSTER_TEXT[key]] = item.text(key)
        else:
            field, options = _CLUSTER_CHOICE[key]
            changes[field] = item.choice(key, options)
    draft.cluster = replace(Cluster(), **changes)


def _interval(value: Value, what: str) -> float:
    seconds = units.parse_time(value.text(what))
    if not seconds:
        raise value.expected(units.TIME_HELP)
    return seconds


def _one_or_two(value: Value, what: str) -> list[str]:
    """One text, or two of different families: a list, or comma-separated as upstream's flags have it."""
    if value.is_sequence:
        texts = [item.text(what) for item in value.sequence(what)]
    else:
        texts = [text.strip() for text in value.text(what).split(",")]
    if not 1 <= len(texts) <= 2 or not all(texts):
        raise value.place.error(f"expected one {what}, or two of different families, found {len(texts)}")
    if len(texts) == 2 and family_of(texts[0]) == family_of(texts[1]):
        family = family_of(texts[0])
        raise value.place.error(
            f"{texts[0]!r} and {texts[1]!r} are both {family}", "give one of each family, as in 10.0.0.0/16,fd00::/56"
        )
    return texts


def _read_pool(value: Value) -> tuple[str, ...]:
    """Ranges as a list or with commas between; "none" is no range."""
    texts = [item.text(pool.HELP) for item in value.sequence(pool.HELP)] if value.is_sequence else None
    if texts is None:
        texts = [text.strip() for text in value.text(f"{pool.HELP}, or none").split(",")]
    return () if texts == [pool.NONE] else tuple(texts)


def _by_family(value: Value, what: str) -> tuple[str | None, str | None]:
    """(IPv4, IPv6) of what `_one_or_two` reads."""
    texts = {family_of(text): text for text in _one_or_two(value, what)}
    return texts.get("IPv4"), texts.get("IPv6")


def _read_switch(name: str, value: Value, draft: Draft) -> None:
    entries = _details(value, "a switch", ("kind", "subnet"))
    kind: Any = entries["kind"].choice("kind of switch", get_args(SwitchKind)) if "kind" in entries else "bridge"
    subnet = entries.get("subnet")
    first, second = _by_family(subnet, "a subnet such as 192.168.77.0/24") if subnet else (None, None)
    draft.add_switch(DraftSwitch(Switch(name, kind), value.place, first, subnet.place if subnet else None, second))


def _read_router(name: str, value: Value, draft: Draft) -> None:
    routes, places = _read_routes(_details(value, "a router", ("routes",)).get("routes"))
    draft.add_machine(DraftMachine(Router(name, routes), value.place, route_places=places))


def _read_host(name: str, value: Value, draft: Draft) -> None:
    entries = _details(value, "a host", ("routes", "resolver"))
    routes, places = _read_routes(entries.get("routes"))
    resolver = _read_resolver(entries["resolver"]) if "resolver" in entries else None
    draft.add_machine(DraftMachine(Host(name, routes, resolver), value.place, route_places=places))


def _read_resolver(value: Value) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The names that a host's DNS server knows, each with one or more addresses."""
    found = []
    for name, item in ({} if value.is_null else value.mapping("names that the resolver knows")).items():
        plain = name.rstrip(".").lower()
        if not names.is_dns_domain(plain):
            raise item.place.error(f"{name!r} is no DNS name", "as in www.example.com: 203.0.113.80")
        one = "an address such as 203.0.113.80, or a list of them"
        texts = [entry.text(one) for entry in item.sequence(one)] if item.is_sequence else [item.text(one)]
        try:
            found.append((plain, tuple(str(ip_address(text)) for text in texts)))
        except ValueError:
            raise item.expected(one) from None
    return tuple(found)


def _read_node(name: str, value: Value, defaults: dict[str, Value], draft: Draft) -> None:
    entries = {**defaults, **_details(value, "a node", _NODE)}
    changes: dict[str, Any] = {}
    if "role" in entries:
        changes["role"] = entries["role"].choice("role", get_args(Role))
    if "proxyMode" in entries:
        changes["proxy_mode"] = entries["proxyMode"].choice("proxyMode", get_args(ProxyMode))
    if "unschedulable" in entries:
        changes["unschedulable"] = entries["unschedulable"].boolean("unschedulable")
    if "labels" in entries:
        changes["labels"] = dict(
            _read_label(key, item) for key, item in entries["labels"].mapping("labels, by key").items()
        )
    if "taints" in entries:
        taints = entries["taints"].sequence("a list of taints such as key=value:NoSchedule")
        changes["taints"] = tuple(_read_taint(item) for item in taints)
    if "capacity" in entries:
        changes["capacity"] = _read_capacity(entries["capacity"])
    routes, places = _read_routes(entries.get("routes"))
    machine = Node(name, routes=routes, **changes)
    pods = "capacity" in entries and "pods" in entries["capacity"].mapping("capacity")
    draft.add_machine(DraftMachine(machine, value.place, "taints" in entries, pods, places))


def _read_label(key: str, value: Value) -> tuple[str, str]:
    text = "" if value.is_null or not getattr(value.node, "value", None) else value.text("a label's value")
    if not names.is_label_key(key):
        raise value.place.error(f"{key!r} is no label key", "as in 'zone' or 'example.com/zone', at most 63 characters")
    if not names.is_label_value(text):
        raise value.place.error(
            f"{text!r} is no label value", "at most 63 letters, digits, '-', '_', '.', beginning and ending with one"
        )
    return key, text


def _read_taint(value: Value) -> Taint:
    text = value.text("a taint such as key=value:NoSchedule")
    pair, _, effect = text.rpartition(":")
    key, _, content = pair.partition("=")
    if not pair or not names.is_label_key(key) or not names.is_label_value(content):
        raise value.expected("a taint such as key=value:NoSchedule or key:NoExecute")
    if effect not in get_args(Effect):
        from netlab.topology.document import did_you_mean

        raise value.place.error(
            f"unknown effect {effect!r} in taint {text!r}, expected one of {', '.join(get_args(Effect))}",
            did_you_mean(effect, get_args(Effect)),
        )
    return Taint(key, content, effect)  # type: ignore[arg-type]


def _read_capacity(value: Value) -> Capacity:
    entries = value.mapping("capacity", tuple(field.name for field in fields(Capacity)))
    changes: dict[str, Any] = {}
    for key in ("cpu", "memory"):
        if key in entries:
            changes[key] = entries[key].text(units.QUANTITY_HELP)
            if not units.is_quantity(changes[key]):
                raise entries[key].expected(units.QUANTITY_HELP)
    if "pods" in entries:
        changes["pods"] = entries["pods"].integer("a number of pods", 0, 65_000)
    return Capacity(**changes)


def _read_routes(value: Value | None) -> tuple[tuple[StaticRoute, ...], tuple[Place, ...]]:
    routes: list[StaticRoute] = []
    places: list[Place] = []
    for item in value.sequence("a list of routes") if value else []:
        entries = item.mapping("a route", ("to", "via"))
        for key in ("to", "via"):
            if key not in entries:
                raise item.place.error(f"the route has no {key!r}", "as in {to: 203.0.113.0/24, via: 192.168.0.1}")
        routes.append(StaticRoute(entries["to"].text("a CIDR or default"), entries["via"].text("an address")))
        places.append(item.place)
    return tuple(routes), tuple(places)


def _read_links(value: Value, defaults: dict[str, Value]) -> list[DraftLink]:
    """The link or, where an end is a range, the links: a range against one name, or two ranges of equal length."""
    own = value.mapping("a link", _LINK)
    if "ends" not in own:
        raise value.place.error("the link has no 'ends'", "as in {ends: [node1, s1]}")
    ends = own["ends"].sequence("the two ends of a link, as in [node1, s1]")
    if len(ends) != 2:
        raise own["ends"].place.error(f"a link has two ends, found {len(ends)}", "as in [node1, s1]")
    left, right = _read_end(ends[0]), _read_end(ends[1])
    if len(left) != len(right) and 1 not in (len(left), len(right)):
        raise own["ends"].place.error(f"ranges of {len(left)} and {len(right)} names do not match one to one")
    measures = _read_measures({**defaults, **own})
    subnet = own.get("subnet")
    first, second = _by_family(subnet, "a subnet such as 10.1.2.0/30") if subnet else (None, None)
    count = max(len(left), len(right))
    return [
        DraftLink(
            value.place,
            left[index % len(left)],
            right[index % len(right)],
            **measures,
            subnet=first,
            subnet_place=subnet.place if subnet else None,
            subnet6=second,
        )
        for index in range(count)
    ]


def _read_measures(entries: dict[str, Value]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, (field, reader, help_text) in _MEASURES.items():
        if key in entries:
            result[field] = reader(entries[key].text(help_text))
            if result[field] is None:
                raise entries[key].expected(help_text)
    if "mtu" in entries:
        result["mtu"] = entries["mtu"].integer("an MTU", 576, 65_535)
    return result


def _read_end(value: Value) -> list[DraftEnd]:
    if value.is_mapping:
        entries = value.mapping("an end of a link", _END)
        if "node" not in entries:
            raise value.place.error("the end names no 'node'", "as in {node: node1, interface: eth0}")
        texts = {key: item.text(key) for key, item in entries.items() if key != "address"}
        first, second = _by_family(entries["address"], "address") if "address" in entries else (None, None)
        name = texts.pop("node")
        return [DraftEnd(value.place, name, **texts, address=first, address6=second)]
    text = value.text("an end of a link: a name, name:interface, or {node, interface, address, mac}")
    name, _, interface = text.partition(":")
    return [DraftEnd(value.place, each, interface or None) for each in _expanded(name, value.place)]
