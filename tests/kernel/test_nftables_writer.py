"""Our own nf_tables transactions against `nft -f` of the same text: the same ruleset, handles and all."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import pytest

from netlab.dataplane.nftables import NftablesProgram, NftState, Operation, create, remove, text
from netlab.dataplane.nftables import rules as r
from netlab.dataplane.nftables.operations import Placed, Table
from netlab.dataplane.services import Endpoint, Family, NodeView, ServicePort, ServicePortName, ServiceState, choose
from netlab.kernel import command, netns, nft, nftables
from netlab.kernel.errors import KernelError
from netlab.kernel.nftables import batch
from tests.golden.service_cells import CELLS, state_of
from tests.golden.test_nftables_flows import program
from tests.golden.test_nftables_kubeproxy import program as recorded

STATEMENTS: dict[r.Ip, tuple[tuple[r.Statement, ...], ...]] = {
    ip: (
        (r.CtNew(), r.Verdict("jump", "other")),
        *((r.Addr(ip, side, (one,), negated), r.Verdict("accept")) for side in ("saddr", "daddr") for one in ones
          for negated in (True, False)),
        *((r.Addr(ip, "saddr", many, negated), r.Verdict("drop")) for many in sets for negated in (True, False)),
        (r.InSet(ip, "saddr", "peers"), r.Verdict("return")),
        (r.Port("sctp", 80), r.Verdict("accept")),
        (r.PortRange("tcp", 80, 90), r.Verdict("reject")),
        (r.L4Proto("udp"), r.Verdict("goto", "other")),
        (r.FibLocal("saddr"), r.FibLocal("daddr"), r.Verdict("accept")),
        (r.MarkUnset(0x4000), r.Verdict("return")),
        (r.SetMark("^", 0x4000),),
        (r.SetMark("|", 0x4001),),
        (r.Lookup("three", ip),),
        (r.Lookup("two", None),),
        (r.AddressVerdict(ip, "daddr", "one"),),
        (r.Spread(("other",)),),
        (r.Spread(("other", "third")),),
        (r.Remember(ip, "seen"),),
        (r.L4Proto("tcp"), r.Dnat(to)),
    )
    for ip, ones, sets, to in (
        ("ip", ("10.0.0.1", "10.0.0.0/8", "10.0.0.0/9", "0.0.0.0/0"),
         (("10.0.0.1", "10.0.0.3"), ("10.0.0.0/8", "10.128.0.0/9", "192.168.0.1"), ("10.0.0.0/25", "10.0.0.128/25"),
          ("0.0.0.0/1", "255.255.255.0/24")), "10.0.0.5:80"),
        ("ip6", ("fd00::1", "fd00::/8", "fd00:10::/33"),
         (("fd00::1", "fd00::3"), ("fd00::/32", "fd01::5"), ("::/2", "ff00::/8")), "[fd00::5]:80"),
    )
}  # fmt: skip


def everything(ip: r.Ip) -> NftState:
    """Each kind of object and statement."""
    address = "ipv6_addr" if ip == "ip6" else "ipv4_addr"
    one = "fd00::1" if ip == "ip6" else "10.0.0.1"
    state = NftState()
    state.add(
        r.Container("peers", "set", address, "a set"),
        r.Container("seen", "set", address, timeout=10800),
        r.Container("one", "map", f"{address} : verdict"),
        r.Container("two", "map", "inet_proto . inet_service : verdict"),
        r.Container("three", "map", f"{address} . inet_proto . inet_service : verdict", "of three"),
        r.Chain("other", (), comment="nothing"),
        r.Chain("third", ()),
        r.Chain("rules", tuple(r.Rule(one, f"rule {i}" if i % 2 else "") for i, one in enumerate(STATEMENTS[ip]))),
        r.Chain(
            "post", (r.Rule((r.Masquerade(),)), r.Rule((r.Masquerade(False),))), "nat hook postrouting priority srcnat"
        ),
        r.Chain("early", (), "filter hook prerouting priority dstnat - 10"),
        r.Chain("late", (), "filter hook output priority -110", "late"),
        r.Element("peers", (one,)),
        r.Element("one", (one,), r.Verdict("goto", "other"), "a comment"),
        r.Element("two", ("udp", "53"), r.Verdict("drop")),
        r.Element("three", (one, "tcp", "80"), r.Verdict("goto", "third"), "ns/name:port"),
    )
    return state


def listings(ns: netns.NetNs) -> tuple[str, Any]:
    """With handles but the tables' own: kernels that load a module meanwhile begin anew, with the next one."""
    found = json.loads(command.run(ns, ["nft", "-a", "-j", "list", "ruleset"]))["nftables"]
    for one in found:
        one.get("table", {}).pop("handle", None)
    listed = command.run(ns, ["nft", "-a", "list", "ruleset"])
    return re.sub(r"(?m)^(table .*\{) # handle \d+$", r"\1", listed), found


def same_by_both(*steps: Sequence[Operation]) -> str:
    """Writes them by nft and by ourselves; the listing."""
    by_nft, ours = netns.create("by-nft"), netns.create("ours")
    for step in steps:
        nft.run(by_nft, text(step))
        nftables.run(ours, step)
    assert listings(ours) == listings(by_nft)
    return listings(ours)[0]


def test_every_statement_is_exercised() -> None:
    used = {type(one) for ip in STATEMENTS for rule in STATEMENTS[ip] for one in rule}
    assert used | {r.Masquerade} == set(get_args(r.Statement))


@pytest.mark.parametrize("ip", ["ip", "ip6"])
def test_every_statement_and_object(sandbox, ip):
    assert "masquerade fully-random" in same_by_both(create(everything(ip), ip).apply)


@pytest.mark.parametrize("family", get_args(Family))
def test_every_kind_of_service(sandbox, family):
    """All cells of the golden table, on ports of their own."""
    cells = [cell for cell in CELLS if cell[0] == family]
    made = program(cells[0])
    for number, cell in enumerate(cells):
        state = state_of(cell)
        name = replace(state.port.name, name=f"svc{number}")
        node_port = state.port.node_port and 30000 + number
        made.update(name, replace(state, port=replace(state.port, name=name, port=number + 1, node_port=node_port)))
    listing = same_by_both(made.full(NftState()).apply)
    assert all(f"svc{number}/" in listing for number, cell in enumerate(cells) if cell[-1] == "both")


def test_what_the_real_kube_proxy_was_seen_to_write(sandbox):
    assert "update @affinity" in same_by_both(recorded().full(NftState()).apply)


def test_changes_of_what_is_there(sandbox):
    """From one cell's table to another's, and what has to be cleaned up after it; at last nothing is left."""
    steps: list[Sequence[Operation]] = []
    for family in ("IPv4", "IPv6"):
        state = NftState()
        for one in [program(cell) for cell in CELLS if cell[0] == family][::3]:
            change = one.full(state)
            steps += [step for step in (change.apply, change.cleanup) if step]
            state = one.state()
    assert "service-ips" in same_by_both(*steps)
    ours = netns.open("ours")
    nftables.run(ours, [remove("ip"), remove("ip6")])
    assert not nft.ruleset(ours)


def many(count: int) -> NftablesProgram:
    """So many Services of three endpoints."""
    made = program(CELLS[0])
    for number in range(count):
        port = ServicePort(ServicePortName("ns", f"svc{number}", "p", "TCP"), f"10.97.0.{number}", 80)
        found = tuple(Endpoint(f"10.244.{number}.{i}", 8080) for i in range(1, 4))
        made.update(port.name, ServiceState(port, found, choose(port, found, NodeView("here"))))
    return made


def test_what_does_not_fit_becomes_several_transactions(sandbox, monkeypatch):
    operations = many(50).full(NftState()).apply
    whole, cut = netns.create("whole"), netns.create("cut")
    assert nftables.run(whole, operations) == 1
    monkeypatch.setattr(batch, "MOST", 16 << 10)
    assert nftables.run(cut, operations) > 5
    assert listings(cut) == listings(whole)
    chain = Operation("add", "ip", "t", r.Chain("c", ()))
    rules = [Operation("add", "ip", "t", Placed("c", r.Rule((r.Verdict("accept"),), "x" * 100)))] * 100
    monkeypatch.setattr(batch, "MOST", 1 << 10)
    with pytest.raises(KernelError, match="rule ip t c: Message too long"):
        nftables.run(cut, [Operation("add", "ip", "t", Table()), chain, *rules])


def test_whether_the_table_is_there(sandbox):
    ns = netns.create("n")
    assert not nftables.holds(ns, "ip", "kube-proxy")
    nftables.run(ns, [Operation("add", "ip", "kube-proxy", Table("empty"))])
    assert not nftables.holds(ns, "ip", "kube-proxy")
    nftables.run(ns, many(1).full(NftState()).apply)
    assert nftables.holds(ns, "ip", "kube-proxy")
    assert not nftables.holds(ns, "ip6", "kube-proxy")


def test_what_is_refused_is_named_and_nothing_of_it_has_happened(sandbox):
    ns = netns.create("n")
    table = Operation("add", "ip", "t", Table())
    rule = Operation("add", "ip", "t", Placed("nowhere", r.Rule((r.Verdict("accept"),))))
    with pytest.raises(KernelError, match="add rule ip t nowhere: No such file or directory"):
        nftables.run(ns, [table, rule])
    assert not nft.ruleset(ns)
    with pytest.raises(KernelError, match="delete table ip6 kube-proxy: No such file or directory"):
        nftables.run(ns, [remove("ip6")])
    chain = Operation("add", "ip", "t", r.Chain("c", ()))
    element = Operation("add", "ip", "t", r.Element("missing", ("10.0.0.1",)))
    with pytest.raises(KernelError, match="add element ip t missing"):
        nftables.run(ns, [table, chain, element])
    nftables.run(ns, [table, chain])
    jump = Operation("add", "ip", "t", Placed("c", r.Rule((r.Verdict("jump", "gone"),))))
    with pytest.raises(KernelError, match="add rule ip t c"):
        nftables.run(ns, [chain, jump])
    assert nft.ruleset(ns).split() == ["table", "ip", "t", "{", "chain", "c", "{", "}", "}"]
