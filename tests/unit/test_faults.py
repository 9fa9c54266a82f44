"""Faults, the deciding part: kinds and their options, targets, effects, the words of nft and tc, records, scenarios."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from netlab.cli.fault import EXAMPLES, fault_command
from netlab.dataplane.shaping import Shaping
from netlab.lab.faults import effects as fx
from netlab.lab.faults import kinds as k
from netlab.lab.faults import model, programs, records, rules, scenario
from netlab.lab.faults.places import End, Layout, Pod
from netlab.node import told
from netlab.topology import load
from netlab.topology.errors import TopologyError

COURSE = load("course")
POD = Pod("default/web", "node1", "cni-1", "veth00000001")
LAYOUT = Layout(COURSE, {"default/web": POD, "kube-system/host": Pod("kube-system/host", "node1", "node1", "", False)})


def made(line: str) -> model.Fault:
    """As written on the command line: KIND TARGET… --option value…"""
    kind, *words = line.split()
    place = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    options = dict(zip((word[2:] for word in words[place::2]), words[place + 1 :: 2], strict=True))
    return model.make(k.KINDS[kind], words[:place], options)


FAULTS: dict[str, tuple[fx.Effect, ...]] = {
    "link-down node1": (fx.Unplugged("node1", "lan"),),
    "link-flap router--internet --down 2s": (fx.Unplugged("router", "internet"),),
    "partition node1 node2 --way in": (
        fx.Filter("node1", f"ether saddr {{ {COURSE.attachments('node2')[0].mac} }} counter drop", "eth0"),
        fx.Filter("node1", "ip saddr { 192.168.77.4 } counter drop", "eth0"),
    ),
    "node-crash node1": (fx.PowerOff("node1"),),
    "node-reboot node1 --down 3s": (fx.PowerOff("node1"),),
    "process-kill apiserver": (fx.Killed("apiserver", True),),
    "process-pause pod/web:c": (fx.Paused("pod/web:c"),),
    "loss node1 --percent 20% --way in": (fx.Filter("node1", "numgen random mod 10000 < 2000 counter drop", "eth0"),),
    "loss pod/web --percent 100% --way out": (fx.Filter("node1", "counter drop", "veth00000001"),),
    "delay node1 --delay 10ms --way out": (fx.Shape("node1", "eth0", delay_s=0.01),),
    "reorder node1 --percent 25": (fx.Shape("node1", "eth0", reorder=0.25, delay_s=0.01),),
    "duplicate pod/web --percent 5%": (fx.Shape("cni-1", "eth0", duplicate=0.05),),
    "bandwidth pod/web --rate 1Mbit --way in": (fx.Shape("node1", "veth00000001", bandwidth_bps=1_000_000),),
    "mtu-black-hole client --size 1400 --way in": (fx.Filter("client", "meta length > 1400 counter drop", "eth0"),),
    "wrong-fdb node1 --peer node2": (fx.WrongForwarding("node1", "node2", k.NOWHERE),),
    "wrong-fdb node1 --peer node2 --to none": (fx.WrongForwarding("node1", "node2", ""),),
    "wrong-arp pod/web --ip 10.244.1.1": (fx.WrongNeighbour("cni-1", "10.244.1.1", k.WRONG_MAC, ""),),
    "wrong-arp node1 --ip 192.168.77.4": (fx.WrongNeighbour("node1", "192.168.77.4", k.WRONG_MAC, "node1"),),
    "conntrack-full node1": tuple(fx.Filter("node1", "ct state new counter drop", hook=h) for h in ("tracked", "sent")),
    "dns-loss pod/web --percent 50%": tuple(
        fx.Filter(
            "cni-1", "meta l4proto { tcp, udp } th dport 53 numgen random mod 10000 < 5000 counter drop", hook=hook
        )
        for hook in ("prerouting", "output")
    ),
    "stale-rule node1 --service web --endpoint 10.244.1.9:80": (fx.WrongRule("node1", "web", "10.244.1.9:80"),),
    "missing-rule node1 --service web": (fx.WrongRule("node1", "web", ""),),
    "clock-skew node1 --offset -1h": (fx.Skewed("node1", -3600.0),),
}


@pytest.mark.parametrize("line", FAULTS)
def test_what_a_fault_means(line: str) -> None:
    fault = made(line)
    assert fx.effects(fault, LAYOUT) == FAULTS[line]
    assert model.from_obj(k.KINDS, json.loads(json.dumps(model.to_obj(fault)))) == fault
    assert dataclasses.is_dataclass(fault)
    with pytest.raises(dataclasses.FrozenInstanceError):
        fault.targets = ()  # type: ignore[misc]


def test_every_kind_has_a_row_and_help_with_an_example() -> None:
    assert {made(line).kind for line in FAULTS} == set(k.KINDS)
    assert set(EXAMPLES) == set(k.KINDS)
    for kind in k.KINDS:
        shown = CliRunner().invoke(fault_command, [kind, "--help"])
        assert shown.exit_code == 0
        assert f"Example: klab fault {kind}" in " ".join(shown.output.split())
        made(
            f"{kind} {EXAMPLES[kind]}".split("     ")[0]
            .replace(" --for 10s", "")
            .split(" --for")[0]
            .split(" --seed")[0]
        )


WRONG = [
    ("loss node1", "percent", "needs it"),
    ("loss node1 --percent 120%", "percent", "a share such as"),
    ("loss node1 --percent 0%", "percent", "a share such as"),
    ("loss node1 --percent 5% --way up", "way", "expected one of both, in, out"),
    ("loss node1 --precent 5%", "precent", "did you mean 'percent'"),
    ("delay node1 --delay 10", "", ""),
    ("delay node1 --delay soon", "delay", "a time such as"),
    ("bandwidth node1 --rate fast", "rate", "a rate such as"),
    ("mtu-black-hole node1 --size 12", "size", "from 68 to 65535"),
    ("wrong-arp node1 --ip 1.2.3", "ip", "an IP address"),
    ("wrong-arp node1 --ip 1.2.3.4 --mac 12", "mac", "a MAC address"),
    ("stale-rule node1 --service web --endpoint 10.0.0.1", "endpoint", "an endpoint such as"),
    ("link-down", "targets", "needs a target"),
    ("link-down nod1", "targets", "did you mean 'node1'"),
    ("link-down node1:eth7", "targets", "no interface 'eth7'"),
    ("link-down node1--node2", "targets", "no cable between"),
    ("link-down node1--nowhere", "targets", "no machine or switch"),
    ("loss pod/wep --percent 5%", "targets", "did you mean 'default/web'"),
    ("loss pod/kube-system/host --percent 5%", "targets", "has the network of node"),
    ("partition node1,node2 node2", "targets", "in two of the sets"),
    ("partition node1 node2 master --way in", "way", "name two"),
    ("node-crash client", "targets", "no node 'client'"),
    ("wrong-fdb node1 --peer client", "peer", "no node 'client'"),
    ("wrong-fdb node1 --peer node1", "peer", "for itself"),
]


@pytest.mark.parametrize(("line", "key", "words"), WRONG)
def test_what_is_wrong_is_named(line: str, key: str, words: str) -> None:
    if not words:
        fx.effects(made(line), LAYOUT)
        return
    with pytest.raises(model.FaultError, match=words) as found:
        fx.effects(made(line), LAYOUT)
    assert found.value.key == key


def test_a_seed_loses_the_same_packets() -> None:
    words = fx.chance(0.02, 7)
    assert words == fx.chance(0.02, 7) != fx.chance(0.02, 8)
    assert words.startswith("numgen inc mod 1000 { ")
    assert words.count(",") == 19, "20 of a thousand"
    flapping = made("link-flap node1 --down 2s --up 4s")
    assert isinstance(flapping, k.LinkFlap)
    turns = fx.flapping(flapping, 3)
    assert turns == fx.flapping(flapping, 3) != fx.flapping(flapping, 4)
    assert all((1.5 <= length <= 2.5) if out else (3 <= length <= 5) for length, out in turns)


def test_places() -> None:
    (end,) = LAYOUT.ends("node1")
    port = next(e.interface for link in COURSE.links for e in link.ends if e.node == "lan" and "node1" in
                {link.a.node, link.b.node})  # fmt: skip
    assert end == End("node1", "eth0", "", port)
    assert end.other.other == end
    assert len(LAYOUT.ends("router")) == 2
    assert LAYOUT.ends("pod/web") == [End("cni-1", "eth0", "node1", "veth00000001")]
    assert [sorted((link.a.node, link.b.node)) for link in LAYOUT.links("lan--node2")] == [["lan", "node2"]]
    both = fx.effects(made("partition node1"), LAYOUT)
    deaf = {one.netns for one in both if isinstance(one, fx.Filter)}
    assert deaf == set(LAYOUT.machines), "cut off from everybody else"


def test_nft_text_is_the_whole_of_a_namespace() -> None:
    assert programs.nft([]).splitlines() == [
        "add table netdev netlab-faults",
        "delete table netdev netlab-faults",
        "add table inet netlab-faults",
        "delete table inet netlab-faults",
    ]
    text = programs.nft(
        [fx.Filter("n", "a drop", "eth0"), fx.Filter("n", "b drop", "eth0"), fx.Filter("n", "c drop", hook="sent")]
    )
    assert text.count("chain ") == 2
    assert 'hook ingress device "eth0" priority -500; policy accept;\n    a drop\n    b drop' in text
    assert "hook output priority -199; policy accept;\n    c drop" in text


TC = [
    (Shaping("eth0"), [], ["tc qdisc del dev eth0 root"]),
    (
        Shaping("eth0", 10**6),
        [],
        ["tc qdisc del dev eth0 root", *Shaping("eth0", 10**6).commands()],
    ),
    (
        Shaping("eth0"),
        [fx.Shape("n", "eth0", delay_s=0.01), fx.Shape("n", "eth0", duplicate=0.1, delay_s=0.01)],
        [
            "tc qdisc del dev eth0 root",
            "tc qdisc replace dev eth0 root handle 10: netem limit 24768 delay 20000us duplicate 10%",
        ],
    ),
    (
        Shaping("eth0", 10**7, 0.005, loss=0.01),
        [fx.Shape("n", "eth0", bandwidth_bps=10**6)],
        [
            "tc qdisc del dev eth0 root",
            "tc qdisc replace dev eth0 root handle 5: tbf rate 1000000bit burst 15140 limit 166540",
            "tc qdisc replace dev eth0 parent 5:1 handle 10: netem limit 1000 delay 5000us loss 1%",
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("own", "shapes", "commands"), TC)
def test_tc_commands(own: Shaping, shapes: list[fx.Shape], commands: list[str]) -> None:
    assert [" ".join(argv) for argv in programs.tc(own, shapes)] == commands


SAVED = """*nat
-A KUBE-SERVICES -d 10.96.9.9/32 -p tcp -m comment --comment "default/web:http cluster IP" --dport 80 -j KUBE-SVC-A
-A KUBE-SVC-A ! -s 10.244.0.0/16 -d 10.96.9.9/32 -m comment --comment "default/web:http cluster IP" -j KUBE-MARK-MASQ
-A KUBE-SVC-A -m comment --comment "default/web:http -> 10.244.1.2:8080" -j KUBE-SEP-B
COMMIT
"""


def test_a_stale_rule_in_iptables() -> None:
    found = rules.iptables(SAVED, "web", "10.244.1.9:8080").text.splitlines()
    assert found[0] == "*nat"
    assert found[-1] == "COMMIT"
    assert found[-2].startswith('-I KUBE-SVC-A 2 -m comment --comment "default/web:http -> 10.244.1.9:8080" ')
    assert "--probability 0.5" in found[-2]
    own = found[1].split()[0][1:]
    after = SAVED + f'-A KUBE-SVC-A -m comment --comment "default/web:http -> 10.244.1.9:8080" -j {own}\n'
    assert rules.iptables(after, "default/web:80", "10.244.1.9:8080").text == "", "it is there already"
    healed = rules.iptables_heal(after, "web", "10.244.1.9:8080").text
    assert f"-X {own}" in healed
    assert "-D KUBE-SVC-A" in healed
    assert rules.iptables_heal(SAVED, "web", "10.244.1.9:8080").text == ""
    for service in ("other", "web:443", "shop/web"):
        with pytest.raises(model.FaultError, match="no rule of Service"):
            rules.iptables(SAVED, service, "10.244.1.9:8080")


def test_a_missing_rule_in_iptables() -> None:
    assert rules.iptables(SAVED, "web", "").text.splitlines()[1].startswith("-D KUBE-SERVICES -d 10.96.9.9/32")
    assert rules.iptables(SAVED.replace("KUBE-SERVICES", "X"), "web", "").text == ""


LISTED = """table ip kube-proxy {
\tmap service-ips {
\t\telements = { 10.96.9.9 . tcp . 80 : goto service-HASHHASH-default/web/tcp/http,
\t\t\t     10.96.0.1 . tcp . 443 : goto service-HASHHASI-default/kubernetes/tcp/https }
\t}
\tchain service-HASHHASH-default/web/tcp/http { # handle 27
\t\tip daddr 10.96.9.9 tcp dport 80 ip saddr != 10.244.0.0/16 jump mark-for-masquerade # handle 75
\t\tnumgen random mod 1 vmap { 0 : goto endpoint-X-default/web/tcp/http__10.244.1.2/8080 } # handle 77
\t}
}
"""


def test_wrong_rules_in_nftables() -> None:
    assert "{ 10.96.9.9 . tcp . 80 }" in rules.nftables(LISTED, "web", "").text
    assert rules.nftables(LISTED, "other", "").text == ""
    found = rules.nftables(LISTED, "web:http", "10.244.1.9:8080").text
    assert "position 77 numgen random mod 2 0 goto endpoint-" in found
    own = found.split("goto ")[1].strip()
    after = LISTED.replace(
        "jump mark-for-masquerade # handle 75\n",
        f"jump mark-for-masquerade # handle 75\n\t\tnumgen random mod 2 0 goto {own} # handle 99\n",
    )
    assert rules.nftables(after, "web", "10.244.1.9:8080").text == ""
    assert rules.nftables_heal(after, "web", "10.244.1.9:8080").text.splitlines() == [
        "delete rule ip kube-proxy service-HASHHASH-default/web/tcp/http handle 99",
        f"delete chain ip kube-proxy {own}",
    ]
    with pytest.raises(model.FaultError):
        rules.nftables(LISTED, "other", "10.244.1.9:8080")


def test_records_belong_to_one_run(tmp_path: Path) -> None:
    record = records.Record("loss-1", made("loss node1 --percent 5%"), 1.0, 2.0, 7, {"neighbours": []})
    records.save(tmp_path, "boot", [record])
    assert records.load(tmp_path, "boot") == [record]
    assert records.load(tmp_path, "another") == []
    (tmp_path / records.FILE).write_text("{")
    assert records.load(tmp_path, "boot") == []
    assert records.next_id([record], "loss") == "loss-2"
    assert records.next_id([record], "delay") == "delay-1"


def test_what_agents_are_told(tmp_path: Path) -> None:
    faults = told.NodeFaults(("node1",), tmp_path)
    assert faults.of("node1") == told.Told() == faults.of("another")
    now = told.Told(3, False, -30.0, frozenset({("fdb", "flannel.1", "aa")}))
    told.write("node1", now, tmp_path)
    assert faults.of("node1") == told.Told(), "not before it looks"
    faults.look()
    assert faults.of("node1") == now == told.read("node1", tmp_path)
    assert told.seen("node1", tmp_path) == 3
    told.write("node1", told.Told(4, True), tmp_path)
    faults.look()
    assert told.seen("node1", tmp_path) == 3, "a node is off when its agent has let go of it"


def test_the_schema_is_a_scenario() -> None:
    found = scenario.read(scenario.SCHEMA, "schema.yaml")
    assert [type(step).__name__ for step in found.steps] == ["Inject", "Inject", "Heal"]
    first = found.steps[0]
    assert isinstance(first, scenario.Inject)
    assert (first.name, first.duration, first.seed, str(first.fault)) == ("lossy", 5.0, 7, "loss node1 percent=0.2")
    assert found.length == 10.0


BAD: list[tuple[str, str]] = [
    ("steps: 7", "1:8: steps: expected the list of steps"),
    ("nam: x\nsteps: []", "1:6: nam: unknown key 'nam'"),
    ("name: x", "needs 'steps'"),
    ("steps:\n- fault: loss", "2:3: steps[0]: a step needs 'at'"),
    ("steps:\n- at: soon\n  fault: loss", "2:7: steps[0].at: expected a time"),
    ("steps:\n- at: 1s\n  fault: los", "3:10: steps[0].fault: unknown fault 'los'"),
    ("steps:\n- at: 1s\n  fault: loss\n  targets: [node1]", "2:3: steps[0]: percent: a fault loss needs it"),
    ("steps:\n- at: 1s\n  fault: loss\n  targets: [node1]\n  percent: x", "5:12: steps[0].percent: expected a share"),
    ("steps:\n- at: 1s\n  fault: loss\n  targets: [node1]\n  rate: x", "5:9: steps[0].rate: unknown key 'rate'"),
    (2 * "x: 1\n", "unknown key"),
    ("steps:" + 2 * "\n- {at: 1s, fault: link-down, name: a, targets: n}", "two steps"),
    ("steps:\n- at: 1s\n  heal: x", "2:3: steps[0]: no step has the name 'x'"),
    ("steps:\n- at: 1s\n  heal: a\n- {at: 2s, fault: link-down, name: a, targets: n}", "healed before it is broken"),
    ("steps:\n- {at: 2s, fault: link-up, targets: n}", "unknown fault"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), BAD)
def test_a_wrong_scenario_says_where(text: str, words: str) -> None:
    with pytest.raises(TopologyError) as found:
        scenario.read(text, "bad.yaml")
    assert str(found.value).startswith("bad.yaml:")
    assert words in str(found.value)


def test_settings_are_those_that_differ() -> None:
    shown: dict[str, Any] = made("loss node1 --percent 5%").settings()
    assert shown == {"percent": 0.05}
