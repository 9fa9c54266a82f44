"""Rules that the kernel says a packet met, with their text: from handles and numbers to steps. PURE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from netlab.dataplane.iptables import rules as r
from netlab.dataplane.nftables import rules as n
from netlab.trace.correlate import Met, role_of
from netlab.trace.model import Step
from netlab.trace.predict.hooks import XTABLES
from netlab.trace.predict.state import Machine
from netlab.trace.predict.tables import NftTable, XRule, XTable
from netlab.trace.predict.xtables import CHAINS
from netlab.trace.token import AnyToken, Role, Token

HOOKS = {chain: hook for hook, chain in CHAINS.items()}


@dataclass(frozen=True, slots=True)
class Event:
    """What the kernel told, as `netlab.kernel.nftrace.Hit` has it, devices by name."""

    backend: str
    family: str
    table: str
    chain: str
    what: str
    number: int
    handle: int
    hook: str
    verdict: str
    indev: str
    outdev: str
    id: int
    packet: bytes


def met(
    place: str,
    events: Sequence[Event],
    machine: Machine,
    token: Token | AnyToken,
    asked: Sequence[tuple[object, ...]],
) -> Iterator[Met]:
    """The rules of one place in order, each with the packet it belongs to."""
    running: dict[int, tuple[Role | None, str, Event]] = {}
    switched: dict[Role, _Bridging] = {}
    sent: dict[Role, bytes] = {}
    for event in events:
        if event.backend == "legacy":
            role, hook, first = role_of(event.packet, token, asked), event.hook, event
        else:
            if event.packet:  # told with the first event of a base chain
                running[event.id] = (role_of(event.packet, token, asked), _hook_of(event, machine), event)
            role, hook, first = running.get(event.id, (None, "", event))
        step = _step(event, machine)
        if role is None or step is None or not hook:
            continue
        if sent.setdefault(role, first.packet[4:6]) != first.packet[4:6] and first.packet[0] >> 4 == 4:
            continue  # IPv4's identification is another: sent again
        bridging = switched.setdefault(role, _Bridging(machine))
        if bridging.is_copy(hook, first, step):
            continue
        yield Met(place, role, hook, first.indev, first.outdev, step, bridging.on)


def nft_first(steps: Sequence[Met], machine: Machine) -> bool | None:
    """Whether nftables' chains were met before those of iptables that have the same priority; None: cannot be told."""
    first: dict[tuple[str, str, int], bool] = {}
    for one in steps:
        words = one.step.where.split()
        if words[0] == "iptables":
            priority, is_nft = XTABLES.get((words[1], one.hook)), False
        else:
            chains = [
                t.chains[words[3]] for t in machine.nft if [t.family, t.name] == words[1:3] and words[3] in t.chains
            ]
            priority, is_nft = (chains[0].priority if chains and chains[0].hook else None), True
        if priority is None:
            continue
        key = (one.role, one.hook, priority)
        if key in first and first[key] != is_nft:
            return first[key]
        first.setdefault(key, is_nft)
    return None


@dataclass(slots=True)
class _Bridging:
    """Whether a packet is being switched by a bridge (br_netfilter), and what it met there: of a flooded one each copy
    meets the same rules again."""

    machine: Machine
    on: bool = False
    met: set[tuple[str, str]] = field(default_factory=set)

    def is_copy(self, hook: str, event: Event, step: Step) -> bool:
        if hook == "prerouting":
            self.on, self.met = False, set()
            return False
        if hook == "forward":
            device = self.machine.interfaces.get(event.indev)
            self.on = event.indev == event.outdev and device is not None and device.kind == "bridge"
        if not self.on:
            return False
        known = (hook, step.where) in self.met
        self.met.add((hook, step.where))
        return known


def _hook_of(event: Event, machine: Machine) -> str:
    for table in machine.nft:
        if (table.family, table.name) == (event.family, event.table) and event.chain in table.chains:
            return table.chains[event.chain].hook
    return HOOKS.get(event.chain, "")


def _step(event: Event, machine: Machine) -> Step | None:
    """None for what is no rule: the end of a chain, or a policy that lets it go on."""
    if event.backend == "nft":
        if event.what == "rule" and not event.handle:
            return None  # the end of an empty chain
        for table in machine.nft:
            if (table.family, table.name) == (event.family, event.table):
                return _nft(event, table)
    for one in machine.xtables:
        if one.name == event.table and one.backend == event.backend:
            return _xtables(event, one)
    if event.what != "rule":
        return None
    where = f"{event.backend} {event.family} {event.table} {event.chain} {event.number or event.handle}"
    return Step("rule", "a rule that came while the packet was on its way", where)


def _xtables(event: Event, table: XTable) -> Step | None:
    rules = table.chains.get(event.chain, ())
    # The legacy tables' log says "return" or "policy", too, of a rule without conditions that accepts, drops or
    # returns (get_chainname_rulenum); the number tells it from the end of the chain.
    is_rule = event.what == "rule" or 0 < event.number <= len(rules)
    if event.what == "policy" and event.chain in table.policies and not is_rule:
        if table.policies[event.chain] != "DROP":
            return None
        where = f"iptables {table.name} {event.chain} policy"
        return Step("rule", f"policy of {event.chain}: DROP", where, deciding=True)
    if not is_rule:
        return None
    found = next((x for x in rules if (x.handle == event.handle if event.handle else x.number == event.number)), None)
    if found is None:
        where = f"iptables {table.name} {event.chain} {event.number}"
        return Step("rule", "a rule that came while the packet was on its way", where)
    return Step("rule", found.text, table.where(found), (found.packets, found.bytes), _owner(found), _decides(found))


def _owner(rule: XRule) -> str:
    comment = rule.rule.comment if rule.rule else ""
    word = comment.split(" ", 1)[0]
    return word if word.count("/") == 1 else ""


def _decides(rule: XRule) -> bool:
    target = rule.rule.target if rule.rule else None
    if isinstance(target, r.Jump):
        return target.chain in ("ACCEPT", "DROP")
    return isinstance(target, r.Dnat | r.Masquerade | r.Reject)


def _nft(event: Event, table: NftTable) -> Step | None:
    chain = table.chains.get(event.chain)
    if event.what == "policy":
        if event.verdict != "drop":
            return None
        where = f"nft {table.family} {table.name} {event.chain} policy"
        return Step("rule", f"policy of {event.chain}: drop", where, deciding=True)
    if event.what != "rule":
        return None
    found = next((one for one in chain.rules if one.handle == event.handle), None) if chain else None
    if found is None:
        where = f"nft {table.family} {table.name} {event.chain} handle {event.handle}"
        return Step("rule", "a rule that came while the packet was on its way", where)
    statements = found.rule.statements if found.rule else ()
    deciding = event.verdict in ("drop",) or any(
        isinstance(s, n.Dnat | n.Masquerade) or (isinstance(s, n.Verdict) and s.kind in ("accept", "drop", "reject"))
        for s in statements
    )
    text = str(found.rule) if found.rule else found.text
    return Step("rule", text, table.where(event.chain, found), found.counter, deciding=deciding)
