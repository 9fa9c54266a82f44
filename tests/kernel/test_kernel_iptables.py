"""iptables and nft in a namespace, both iptables back ends."""

from __future__ import annotations

import socket

import pytest

from netlab.dataplane.masquerade import forward_rules, masquerade_rules, restore_text
from netlab.kernel import features, iptables, netns, nft, xtables
from netlab.kernel.errors import CommandFailed

BACKENDS = ("legacy", "nft")
RULES = (*masquerade_rules("10.244.1.0/24", "10.244.0.0/16"), *forward_rules("10.244.0.0/16"))


def need(name: str) -> None:
    found = features.feature(name)
    if not found.available:
        pytest.skip(f"{name}: {found.detail}")


@pytest.mark.parametrize("backend", BACKENDS)
def test_flannels_chains_are_saved_as_they_were_written_and_written_twice_are_the_same(sandbox, backend):
    need(f"iptables_{backend}")
    ns = netns.create("n")
    iptables.restore(ns, "*nat\n:MINE - [0:0]\n-A MINE -j RETURN\nCOMMIT\n", backend=backend)
    iptables.restore(ns, restore_text(RULES), backend=backend)
    saved = iptables.save(ns, backend=backend)
    assert {str(rule) for rule in RULES} <= set(saved.splitlines())
    assert "-A MINE -j RETURN" in saved
    iptables.restore(ns, restore_text(RULES, present=frozenset(saved.splitlines())), backend=backend)
    again = [line for line in iptables.save(ns, backend=backend).splitlines() if line.startswith("-A")]
    assert sorted(again) == sorted(line for line in saved.splitlines() if line.startswith("-A"))


def test_addresses_are_found_in_the_tables_without_a_program(sandbox):
    need("iptables_legacy")
    ns = netns.create("n")
    rules = "-A PREROUTING -p tcp -d 10.96.0.1/32 --dport 80 -j DNAT --to-destination 10.244.1.3:8080"
    iptables.restore(ns, f"*nat\n{rules}\nCOMMIT\n", backend="legacy")
    with ns.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        table = xtables.entries(sock, "nat")
        assert [xtables.mentions(table, f"10.{rest}") for rest in ("96.0.1", "244.1.3", "96.0.2")] == [
            True,
            True,
            False,
        ]
        iptables.restore(ns, "*nat\nCOMMIT\n", noflush=False, backend="legacy")
        assert not xtables.mentions(xtables.entries(sock, "nat"), "10.96.0.1")
        with pytest.raises(FileNotFoundError):
            xtables.entries(sock, "nothing")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_wrong_rule_changes_nothing_and_names_its_line(sandbox, backend):
    need(f"iptables_{backend}")
    ns = netns.create("n")
    text = "*nat\n:MINE - [0:0]\n-A MINE -j RETURN\n-A MINE -j NOWHERE\nCOMMIT\n"
    with pytest.raises(CommandFailed) as problem:
        iptables.restore(ns, text, backend=backend)
    assert problem.value.line in (4, 5) and problem.value.text in ("-A MINE -j NOWHERE", "COMMIT")
    assert "MINE" not in iptables.save(ns, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_thousands_of_rules_fit_also_in_a_user_namespace(sandbox, backend):
    need(f"iptables_{backend}")
    ns = netns.create("n")
    chains = [f":C{i} - [0:0]" for i in range(3000)]
    rules = [
        f'-A C{i} -d 10.96.{i >> 8}.{i & 255}/32 -m comment --comment "ns/service-{i}" -j RETURN' for i in range(3000)
    ]
    iptables.restore(ns, "\n".join(["*nat", *chains, *rules, "COMMIT"]) + "\n", backend=backend)
    assert iptables.save(ns, backend=backend).count("-A C") == 3000


def test_pieces_keep_chains_before_rules_and_tables_apart():
    chains = [f":C{i} - [0:0]" for i in range(500)]
    rules = [f"-A C{i} -j RETURN" for i in range(900)]
    text = "\n".join(["# comment", "*nat", *chains, *rules, "COMMIT", "*filter", ":F - [0:0]", "COMMIT"]) + "\n"
    found = iptables.pieces(text)
    sizes = [128, 128, 128, 116, *[128] * 7, 4, 1]
    assert [piece.splitlines()[0] for piece in found] == ["*nat"] * 12 + ["*filter"]
    assert [len(piece.splitlines()) - 2 for piece in found] == sizes
    assert "".join(found).count("-A C899 -j RETURN") == 1


async def test_restore_and_save_do_not_block_the_loop(sandbox):
    ns = netns.create("n")
    await iptables.restore_async(ns, restore_text(RULES))
    assert "FLANNEL-FWD" in await iptables.save_async(ns, table="filter")


def test_namespaces_have_rules_of_their_own_and_legacy_and_nft_do_not_mix(sandbox):
    need("iptables_legacy")
    need("iptables_nft")
    one, two = netns.many(["one", "two"])
    iptables.restore(one, restore_text(RULES), backend="legacy")
    assert "FLANNEL" not in iptables.save(two, backend="legacy")
    assert "FLANNEL" not in iptables.save(one, backend="nft")


async def test_nft_reads_back_what_it_was_told_and_refuses_by_line(sandbox):
    need("nft")
    ns = netns.create("n")
    await nft.run_async(ns, "table ip t {\n  chain c {\n    ip daddr 10.96.0.1 counter accept\n  }\n}\n")
    assert "ip daddr 10.96.0.1" in nft.ruleset(ns, table="ip t")
    kinds = [next(iter(entry)) for entry in nft.ruleset_json(ns)["nftables"]]
    assert kinds == ["metainfo", "table", "chain", "rule"]
    with pytest.raises(CommandFailed) as problem:
        nft.run(ns, "table ip t {\n}\nadd rule ip t nowhere accept\n")
    assert problem.value.line == 3 and problem.value.text == "add rule ip t nowhere accept"


def test_a_program_that_is_not_installed_is_named(sandbox, monkeypatch):
    monkeypatch.setattr("netlab.kernel.command.find", lambda program: None)
    with pytest.raises(CommandFailed, match="nft is not installed"):
        nft.ruleset(netns.create("n"))
