"""Host ports: the rules that the portmap plugin would write, for every kind of port, and their removal."""

from __future__ import annotations

import hashlib

from netlab.dataplane import hostports
from netlab.dataplane.hostports import PortMapping, chain_of, close_text, open_text, port_mappings

UID = "11111111-2222-3333-4444-555555555555"
CHAIN = chain_of(UID)
SUMMARY = [":CNI-HOSTPORT-DNAT - [0:0]", ":CNI-HOSTPORT-SETMARK - [0:0]", ":CNI-HOSTPORT-MASQ - [0:0]"]
SHARED = [
    '-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000',
    "-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE",
    '-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ',
    "-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
    "-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
]
ENTRY = (
    f'-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"cbr0\\" id: \\"{UID}\\"" '
    f"-m multiport --dports 54321 -j {CHAIN}"
)


def test_the_chain_is_named_as_portmap_names_it() -> None:
    assert len(CHAIN) == 28
    assert "CNI-DN-" + hashlib.sha512(f"cbr0{UID}".encode()).hexdigest()[:21] == CHAIN


def test_the_ports_of_a_pod() -> None:
    spec = {
        "containers": [
            {"ports": [{"containerPort": 80, "hostPort": 8000}, {"containerPort": 81}]},
            {"ports": [{"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "192.168.0.2"}]},
        ],
        "initContainers": [
            {"ports": [{"containerPort": 1, "hostPort": 1}]},
            {"restartPolicy": "Always", "ports": [{"containerPort": 2, "hostPort": 2, "hostIP": "0.0.0.0"}]},
        ],
    }
    found = (PortMapping("tcp", 8000, 80), PortMapping("udp", 53, 53, "192.168.0.2"), PortMapping("tcp", 2, 2))
    assert port_mappings(spec) == found
    assert port_mappings({**spec, "hostNetwork": True}) == ()


def test_a_node_without_any() -> None:
    text = open_text(UID, "10.244.1.5/24", [PortMapping("tcp", 54321, 8080)], [])
    assert text.splitlines() == [
        "*nat",
        f":{CHAIN} - [0:0]",
        *SUMMARY,
        *SHARED[:2],
        SHARED[2].replace("-A", "-I"),
        *SHARED[3:],
        ENTRY,
        f"-A {CHAIN} -s 10.244.1.0/24 -p tcp -m tcp --dport 54321 -j CNI-HOSTPORT-SETMARK",
        f"-A {CHAIN} -s 127.0.0.1/32 -p tcp -m tcp --dport 54321 -j CNI-HOSTPORT-SETMARK",
        f"-A {CHAIN} -p tcp -m tcp --dport 54321 -j DNAT --to-destination 10.244.1.5:8080",
        "COMMIT",
    ]


def test_what_is_there_is_not_written_twice() -> None:
    present = [*SUMMARY, f":{CHAIN} - [0:0]", *SHARED, ENTRY]
    lines = open_text(UID, "10.244.1.5/24", [PortMapping("tcp", 54321, 8080)], present).splitlines()
    assert lines[:4] == ["*nat", f":{CHAIN} - [0:0]", ENTRY.replace("-A", "-D", 1), ENTRY]
    assert len(lines) == 8


def test_a_host_address_and_ipv6() -> None:
    text = open_text(UID, "fd10::5/64", [PortMapping("udp", 53, 5353, "fd00::2")], [])
    assert f"-A {CHAIN} -d fd00::2/128 -p udp -m udp --dport 53 -j DNAT --to-destination [fd10::5]:5353" in text
    assert "127.0.0.1" not in text
    four = [PortMapping("udp", 53, 5353, "192.168.0.2")]
    assert "DNAT --to" not in open_text(UID, "fd10::5/64", four, [])
    assert "-d 192.168.0.2/32 -p udp" in open_text(UID, "10.244.1.5/24", four, [])


def test_more_ports_than_a_multiport_holds() -> None:
    mappings = [PortMapping("tcp", 1000 + number, 80) for number in range(20)]
    entries = [line for line in open_text(UID, "10.244.1.5/24", mappings, []).splitlines() if "multiport" in line]
    assert [entry.partition("--dports ")[2].count(",") for entry in entries] == [14, 4]


def test_closing() -> None:
    other = ENTRY.replace(CHAIN, "CNI-DN-other")
    present = [*SUMMARY, f":{CHAIN} - [0:0]", *SHARED, ENTRY, other, f"-A {CHAIN} -p tcp -j DNAT"]
    closing = close_text(UID, present).splitlines()
    assert closing == ["*nat", f":{CHAIN} - [0:0]", ENTRY.replace("-A", "-D", 1), f"-X {CHAIN}", "COMMIT"]
    assert close_text(UID, [*SUMMARY, *SHARED, other]) == ""
    assert hostports.close_text("nobody", present) == ""
