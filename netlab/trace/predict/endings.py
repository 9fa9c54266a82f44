"""How a packet's way may end: what to say, the probable cause, and the remedy. PURE."""

from __future__ import annotations

from collections.abc import Sequence

from netlab.trace.model import Step, VerdictKind, host_port
from netlab.trace.predict.route import Found
from netlab.trace.predict.state import Interface


class Ended(Exception):  # noqa: N818
    """The packet's way is over."""

    def __init__(self, kind: VerdictKind, place: str, text: str, cause: str = "", remedy: str = "") -> None:
        super().__init__(text)
        self.kind, self.place, self.text, self.cause, self.remedy = kind, place, text, cause, remedy


def circle(place: str) -> Ended:
    cause = "routes of several machines form a loop"
    return Ended("dropped", place, "it goes round in a circle", cause, "look at the routes of the places above")


def no_way(place: str, dst: str, found: Found, kind: VerdictKind) -> Ended:
    text = f"{place} has no way to {dst}: {found.text}"
    if found.kind in ("blackhole", "unreachable", "prohibit"):
        return Ended(kind, place, text, f"a route says {found.kind}", "ip route del it, if it should not be there")
    cause = "no route matches the destination, not even a default one"
    return Ended(kind, place, text, cause, "ip route show; is the interface up, and its cable in?")


def route_kind(place: str, found: Found) -> Ended:
    text = f"{found.kind} route: {found.text}"
    return Ended("dropped", place, text, f"a route says {found.kind}", "ip route del it, if it should not be there")


def down(place: str, device: str) -> Ended:
    text = f"{device or 'the device'} of {place} is down"
    return Ended("dropped", place, text, "the interface was taken down", f"ip link set {device} up")


def too_big(place: str, words: str, device: str, *, own: bool) -> Ended:
    """`device`: whose MTU it is; "" for a path MTU that was learnt."""
    kind: VerdictKind = "dropped" if own else "rejected"
    text = f"{words}: {'message too long' if own else 'ICMP fragmentation needed'}"
    cause = "the packet is bigger than the path allows and may not be fragmented"
    remedy = f"raise the MTU of {device}" if device else "mend the path and forget what was told: ip route flush cache"
    return Ended(kind, place, text, cause, f"send less, or {remedy}")


def no_neighbour(place: str, device: Interface, ip: str) -> Ended:
    cause = f"there is no neighbour entry for {ip}"
    if device.kind == "vxlan":
        remedy = "flanneld writes one for each node; by hand: "
        remedy += f"ip neigh replace {ip} lladdr <its VTEP's MAC> dev {device.name}"
    else:
        cause += f", and nobody answers {'NDP' if ':' in ip else 'ARP'}"
        remedy = f"is the machine with {ip} up, and its cable in? (ip neigh show dev {device.name})"
    return Ended("dropped", place, f"no neighbour entry for {ip} on {device.name}", cause, remedy)


def no_carrier(place: str, device: str) -> Ended:
    remedy = f"put it back: ip link set {device} up, at both ends"
    cause = "the cable is cut, or the other end is down"
    return Ended("dropped", place, f"{device} of {place} has no carrier", cause, remedy)


def link_mtu(place: str, length: int, device: Interface) -> Ended:
    text = f"{length} bytes are more than {device.name} of {place} takes (MTU {device.mtu})"
    cause = "the two ends of a link have different MTUs: a black hole, for nobody is told"
    return Ended("dropped", place, text, cause, f"give both ends the same MTU: ip link set {device.name} mtu …")


def port_mtu(place: str, length: int, port: Interface) -> Ended:
    text = f"{length} bytes are more than the bridge's port {port.name} takes (MTU {port.mtu})"
    cause = "a bridge drops frames that are too long without a word: a black hole"
    remedy = f"give all links of the segment the same MTU: ip link set {port.name} mtu …"
    return Ended("dropped", place, text, cause, remedy)


def wrong_mac(place: str, device: Interface, mac: str) -> Ended:
    text = f"the frame is for {mac}, but {device.name} of {place} is {device.mac}"
    cause = "the sender's neighbour (ARP) or forwarding entry holds another machine's MAC address"
    return Ended("dropped", place, text, cause, "delete the wrong entry at the sender: ip neigh del, or bridge fdb del")


def nobody_behind(place: str, bridge: str, mac: str) -> Ended:
    cause = "the frame is flooded to every port and nobody takes it: the cable of who has it is cut, or it is down, "
    cause += "or the sender's neighbour entry is wrong or outdated"
    remedy = "is the other machine's link up? If so: delete the entry at the sender, ip neigh del"
    return Ended("dropped", place, f"nobody behind {bridge} has the MAC {mac}", cause, remedy)


def hairpin_off(place: str, port: str) -> Ended:
    text = f"it would leave by {port}, where it came in, and hairpin mode is off"
    cause = "a pod calls itself through its Service, and the bridge's port does not send back"
    return Ended("dropped", place, text, cause, f"bridge link set dev {port} hairpin on")


def no_forwarding_entry(place: str, device: str, mac: str) -> Ended:
    cause = f"{device} does not know behind which node's address that VTEP is, and does not learn"
    remedy = f"bridge fdb replace {mac} dev {device} dst <the node's address> self permanent"
    return Ended("dropped", place, f"no forwarding entry for {mac} on {device}", cause, remedy)


def martian(place: str, src: str) -> Ended:
    text = f"its source {src} is {place}'s own address (a martian)"
    cause = "the packet came back to the machine whose address it carries"
    return Ended("dropped", place, text, cause, "look for the same address on two machines, or for a loop")


def reverse_path(place: str, device: str, src: str, back: Found) -> Ended:
    text = f"rp_filter: the way back to {src} is not by {device}, but {back.text}"
    cause = "reverse path filtering is strict, and the route to the source leads elsewhere"
    remedy = f"sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{device}.rp_filter=0, or mend the route"
    return Ended("dropped", place, text, cause, remedy)


def not_forwarding(place: str, switch: str, dst: str) -> Ended:
    cause = f"the packet is for {dst}, which is not {place}'s, and {place} is no router"
    return Ended("dropped", place, f"{place} does not forward: {switch} is 0", cause, f"sysctl -w {switch}=1")


def ttl_out(place: str) -> Ended:
    cause = "more routers than its TTL, or a loop"
    return Ended("rejected", place, "its TTL has run out", cause, "look for a circle in the hops above")


def nobody_listens(place: str, protocol: str, port: int | None) -> Ended:
    how = "a reset" if protocol == "tcp" else "ICMP port unreachable"
    cause = f"no process of {place} listens on {protocol} port {port}"
    remedy = "is the program running, on this port and on this address? (targetPort of the Service?)"
    return Ended("refused", place, f"{place} refuses it with {how}", cause, remedy)


def stranger(place: str, came: tuple[str, int | None], asked: tuple[str, int]) -> Ended:
    """An answer that the asking socket does not know."""
    text = f"{place} asked {host_port(*asked)}; an answer from {host_port(*came)} is nobody's there"
    cause = "the answer has gone past the machine that translated the question, which would have translated it back"
    remedy = "it must lead back over that machine: masquerade there (externalTrafficPolicy: Cluster), or mend the route"
    return Ended("refused", place, text, cause, remedy)


def no_real_server(place: str, frontend: object, service: str) -> Ended:
    cause = f"the Service {service} has no ready endpoint"
    remedy = "do its selector's labels match pods, and are they Ready?"
    return Ended("rejected", place, f"IPVS: {frontend} has no real server", cause, remedy)


def by_rule(place: str, hook: str, steps: Sequence[Step], verdict: str, reason: str) -> Ended:
    """`steps`: what was met in the hook, the rule that ended it last."""
    rules = [step for step in steps if step.kind == "rule"]
    kind: VerdictKind = "rejected" if verdict == "reject" else "dropped"
    done = f"rejected with {reason or 'an ICMP error'}" if kind == "rejected" else "dropped"
    words = f"{rules[-1].where}: {rules[-1].text}" if rules else "a rule"
    return Ended(kind, place, f"{done} in {hook} by {words}", *_cause(rules[-2:]))


def _cause(rules: Sequence[Step]) -> tuple[str, str]:
    """Cause and remedy; the rule may have been led to by the one before, which knows why."""
    if not rules:
        return "", ""
    rule = rules[-1]
    service = next((f" {one.owner}" for one in reversed(rules) if one.owner), "")
    text = " ".join(one.text for one in rules).lower()
    if "has no local endpoints" in text or ("no-endpoint" in text and text.endswith("drop")):
        cause = f"the Service{service} has traffic policy Local and no endpoint on this node"
        return cause, "call a node that has one, or set externalTrafficPolicy: Cluster"
    if "has no endpoints" in text or "no-endpoint" in text:
        remedy = "do its selector's labels match pods, and are they Ready? "
        remedy += "(kubectl get endpointslices, pods --show-labels)"
        return f"the Service{service} has no ready endpoint", remedy
    if "cluster-ips" in text or "clusterips" in text:
        return "the address is a cluster IP, but no Service has that port", "kubectl get services shows the ports"
    if "networkpolicy of " in text:
        names = rule.text.rpartition("NetworkPolicy of ")[2].rstrip('"')
        remedy = "kubectl describe networkpolicy shows what they allow; the pod's labels decide which select it"
        return f"no rule of {names} (NetworkPolicy) allows this connection", remedy
    if "ctstate invalid" in text:
        cause = "conntrack has never seen this connection's beginning here"
        return cause, "the two directions take different ways"
    return "a rule forbids it", f"if it should not: remove {rule.where or 'the rule'}"
