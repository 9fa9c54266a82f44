"""Corefiles: what they mean, and what is said of wrong ones. Rewrites and the cache as tables."""

from __future__ import annotations

import pytest

from netlab.dns import caching, rewriting
from netlab.dns.config import Cache, Config, Fallthrough, Kubernetes
from netlab.dns.corefile import CorefileError
from netlab.dns.directives import read, reverse_zones, seconds
from netlab.dns.message import NXDOMAIN, SERVFAIL, Query, Record, Reply

KUBEADM = """
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf 192.0.2.1:5353 {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
"""


def test_a_corefile_as_kubeadm_writes_it() -> None:
    config = read(KUBEADM)
    (block,) = config.blocks
    assert (block.zones, block.port, block.lameduck) == ((".",), 53, 5.0)
    assert block.kubernetes == Kubernetes(
        ("cluster.local.", "in-addr.arpa.", "ip6.arpa."),
        30,
        "insecure",
        Fallthrough(("in-addr.arpa.", "ip6.arpa.")),
    )
    assert block.forwards[0].to == ("/etc/resolv.conf", "192.0.2.1:5353") and block.forwards[0].max_concurrent == 1000
    assert block.cache is not None and block.cache.success_ttl == 30
    assert block.cache.no_denial == ("cluster.local.",)
    assert (block.health, block.ready, block.prometheus) == (("", 8080), ("", 8181), ("", 9153))
    assert block.loop and block.loadbalance and block.errors and config.reload == 1.0 and len(config.sha512) == 128


def test_blocks_snippets_imports_and_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM", "192.0.2.53")
    text = """(common) {
        errors   # for all
        cache 5
    }
    corp.example, 10.0.0.0/16 example.net:5353 {
        import common
        forward . {$UPSTREAM} {
            policy sequential
        }
    }
    . {
        import custom/*.override
        hosts {
            10.0.0.1 "example.org" www.example.org
            fallthrough
        }
    }"""
    config = read(text, read_files=lambda pattern: [("custom/a.override", "log")] if "override" in pattern else [])
    zones = [(block.zones, block.port) for block in config.blocks]
    assert zones == [(("corp.example.", "0.10.in-addr.arpa."), 53), (("example.net.",), 5353), ((".",), 53)]
    assert config.blocks[0].errors and config.blocks[0].forwards[0].to == ("192.0.2.53",)
    assert config.blocks[2].log and config.blocks[2].hosts is not None
    assert config.blocks[2].hosts.inline == (("10.0.0.1", ("example.org.", "www.example.org.")),)


def one(directive: str) -> str:
    return f".:53 {{\n  {directive}\n}}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Corefile: no server block"),
        (".:53 {\n  errors\n", "Corefile:1 - Error during parsing: the brace opened here is never closed"),
        ("}\n", "Corefile:1 - Error during parsing: a closing brace without an opening one"),
        ("errors\n", "Corefile:1 - Error during parsing: expected zones and an opening brace"),
        (".:dns {\n errors\n}", "Corefile:1 - Error during parsing: '.:dns': expected a port number"),
        (".:53 {\n}\n.:53 {\n}", "Corefile:3 - Error during parsing: cannot serve dns://.:53 - it is already defined"),
        ("tls://. {\n}", "only plain DNS"),
        (one("import missing"), "Corefile:2 - Error during parsing: File to import not found: missing"),
        (one("nonsense"), "Corefile:2 - Error during parsing: Unknown directive 'nonsense'"),
        (one("template IN A"), "Corefile:2 - Error during parsing: 'template' is a plugin of CoreDNS that this DNS"),
        (one("forward ."), "plugin/forward: Corefile:2 - Error during parsing: Wrong argument count or unexpected"),
        (one("forward . tls://9.9.9.9"), "plugin/forward: Corefile:2 - Error during parsing: tls://9.9.9.9: only"),
        (one("forward . nowhere"), "plugin/forward: Corefile:2 - Error during parsing: not an IP address or file"),
        (one("forward . 1.1.1.1 {\n bogus\n }"), "plugin/forward: Corefile:3 - Error during parsing: unknown property"),
        (one("kubernetes a.b {\n pods maybe\n }"), "Corefile:3 - Error during parsing: wrong value for pods: maybe"),
        (one("kubernetes a.b {\n ttl 9000\n }"), "ttl must be in range [0, 3600]: 9000"),
        (one("kubernetes a.b {\n ttl soon\n }"), 'strconv.Atoi: parsing "soon": invalid syntax'),
        (one("kubernetes in-addr.arpa"), "non-reverse zone name must be used"),
        (one("kubernetes a.b\n kubernetes c.d"), "this plugin can only be used once per Server Block"),
        (one("cache 30 {\n disable all\n }"), 'cache type for disable must be "success" or "denial": all'),
        (one("cache 0"), "cache TTL can not be zero or negative: 0"),
        (one("reload 1s"), "plugin/reload: Corefile:2 - Error during parsing: interval value must be greater"),
        (one("reload often"), 'plugin/reload: Corefile:2 - Error during parsing: time: invalid duration "often"'),
        (one("rewrite edns0 local set 0xffee x"), "edns0 rules are not followed by this DNS server"),
        (one("rewrite name regex ( x"), "plugin/rewrite: Corefile:2 - Error during parsing:"),
        (one("rewrite name a.b"), "plugin/rewrite: Corefile:2 - Error during parsing: Wrong argument count"),
        (one("hosts {\n 10.0.0.300 a\n }"), "plugin/hosts: Corefile:3 - Error during parsing: unknown property"),
        (one("log {\n class sometimes\n }"), "plugin/log: Corefile:3 - Error during parsing: invalid Class: sometimes"),
        (one("bind eth0"), "plugin/bind: Corefile:2 - Error during parsing:"),
        (one("loadbalance weighted"), "plugin/loadbalance: Corefile:2 - Error during parsing: unknown policy"),
    ],
)
def test_a_wrong_corefile_names_the_place(text: str, message: str) -> None:
    with pytest.raises(CorefileError) as caught:
        read(text)
    assert message in str(caught.value)


def test_durations_and_reverse_zones() -> None:
    assert [seconds(text) for text in ("5", "5s", "1m30s", "500ms", "2h")] == [5, 5, 90, 0.5, 7200]
    assert reverse_zones("10.1.2.0/24") == ["2.1.10.in-addr.arpa."]
    assert reverse_zones("10.96.0.0/15") == ["96.10.in-addr.arpa.", "97.10.in-addr.arpa."]
    assert reverse_zones("fd00:10::/32") == ["0.1.0.0.0.0.d.f.ip6.arpa."]


REWRITES = [
    # rules, question, rewritten question, a record of the answer, as the asker sees it
    ("name example.com a.svc.", "example.com.", "a.svc.", ("a.svc.", "1.1.1.1"), ("example.com.", "1.1.1.1")),
    ("name exact example.com a.svc", "x.example.com.", "x.example.com.", ("n.", "1.1.1.1"), ("n.", "1.1.1.1")),
    ("example.com a.svc", "Example.Com.", "a.svc.", ("a.svc.", "1.1.1.1"), ("Example.Com.", "1.1.1.1")),
    ("name prefix web- www- answer auto", "web-1.x.", "www-1.x.", ("www-1.x.", "1.1.1.1"), ("web-1.x.", "1.1.1.1")),
    ("name suffix .corp .svc.local.", "a.b.corp.", "a.b.svc.local.", ("a.b.svc.local.", "1"), ("a.b.svc.local.", "1")),
    ("name suffix .corp. .svc. answer auto", "a.corp.", "a.svc.", ("a.svc.", "1.1.1.1"), ("a.corp.", "1.1.1.1")),
    ("name substring blue green", "a.blue.b.", "a.green.b.", ("a.green.b.", "1.1.1.1"), ("a.green.b.", "1.1.1.1")),
    (
        r"name regex (.*)-(eu)\.corp {1}.svc.{2}.local answer name (.*)\.svc\.(eu)\.local {1}-{2}.corp",
        "web-eu.corp.",
        "web.svc.eu.local.",
        ("web.svc.eu.local.", "1.1.1.1"),
        ("web-eu.corp.", "1.1.1.1"),
    ),
]


@pytest.mark.parametrize(("rule", "asked", "wanted", "answered", "seen"), REWRITES)
def test_rewrites(rule: str, asked: str, wanted: str, answered: tuple[str, str], seen: tuple[str, str]) -> None:
    (block,) = read(one(f"rewrite {rule}")).blocks
    query, undo = rewriting.apply(block.rewrites, Query(asked, "A"))
    assert query.name == wanted
    reply = Reply(answer=(Record(answered[0], "A", 5, answered[1]),))
    if undo is not None:
        reply = undo.apply(reply)
    assert (reply.answer[0].name, reply.answer[0].data) == seen


def test_rewrites_of_type_ttl_rcode_and_the_order_of_rules() -> None:
    text = """. {
        rewrite continue ttl suffix example.com 60-300
        rewrite continue rcode exact x.example.com NXDOMAIN SERVFAIL
        rewrite continue type ANY HINFO
        rewrite name x.example.com y.example.com
        rewrite name y.example.com never.example.com
    }"""
    (block,) = read(text).blocks
    query, undo = rewriting.apply(block.rewrites, Query("x.example.com.", "ANY"))
    assert (query.name, query.type) == ("y.example.com.", "HINFO") and undo is not None
    reply = undo.apply(Reply(NXDOMAIN, (Record("y.example.com.", "A", 5, "1.1.1.1"),)))
    assert reply.rcode == SERVFAIL and reply.answer == (Record("x.example.com.", "A", 60, "1.1.1.1"),)


def test_a_rewritten_value_follows_answer_auto() -> None:
    (block,) = read(one("rewrite name suffix .corp. .svc. answer auto")).blocks
    _, undo = rewriting.apply(block.rewrites, Query("_http._tcp.a.corp.", "SRV"))
    assert undo is not None
    reply = undo.apply(Reply(answer=(Record("_http._tcp.a.svc.", "SRV", 5, "0 100 80 _http._tcp.a.svc."),)))
    assert reply.answer[0] == Record("_http._tcp.a.corp.", "SRV", 5, "0 100 80 _http._tcp.a.corp.")


SOA = Record("example.", "SOA", 20, "a. b. 1 7200 1800 86400 15")


@pytest.mark.parametrize(
    ("reply", "config", "ttl"),
    [
        (Reply(answer=(Record("a.", "A", 100, "1.1.1.1"),)), Cache(), 100),
        (Reply(answer=(Record("a.", "A", 100, "1.1.1.1"),)), Cache(success_ttl=30), 30),
        (Reply(answer=(Record("a.", "A", 1, "1.1.1.1"),)), Cache(), 5),
        (Reply(NXDOMAIN, authority=(SOA,)), Cache(), 15),
        (Reply(NXDOMAIN, authority=(SOA,)), Cache(denial_ttl=7), 7),
        (Reply(authority=(SOA,)), Cache(), 15),
        (Reply(NXDOMAIN), Cache(), 0),
        (Reply(SERVFAIL), Cache(), 5),
        (Reply(SERVFAIL), Cache(servfail=0), 0),
        (Reply(5), Cache(), 0),
    ],
)
def test_how_long_an_answer_is_kept(reply: Reply, config: Cache, ttl: float) -> None:
    assert caching.ttl_of(reply, config) == ttl


def test_a_kept_answer_counts_down_and_ends() -> None:
    cache = caching.AnswerCache(Cache(stale=100))
    query = Query("a.", "A")
    cache.put(query, Reply(answer=(Record("a.", "A", 100, "1.1.1.1"),)), 1000.0)
    found = cache.get(Query("A.", "A"), 1040.5)
    assert found is not None and found[0] == "success"
    assert found[1].answer == (Record("A.", "A", 59, "1.1.1.1"),) and found[1].keep == 0.5
    assert cache.get(Query("a.", "AAAA"), 1040.0) is None
    assert cache.get(query, 1100.0) is None
    stale = cache.get(query, 1150.0, stale=True)
    assert stale is not None and stale[1].answer[0].ttl == 0


def test_what_is_disabled_is_not_kept_and_a_full_cache_gives_up_entries() -> None:
    cache = caching.AnswerCache(Cache(no_success=("cluster.local.",), success_capacity=3))
    for name in ("x.cluster.local.", *(f"{letter}." for letter in "abcdef")):
        cache.put(Query(name, "A"), Reply(answer=(Record(name, "A", 100, "1.1.1.1"),)), 0.0)
    assert cache.get(Query("x.cluster.local.", "A"), 1.0) is None
    assert len(cache.stores["success"]) == 3 and cache.evictions["success"] == 3


def test_the_default_configuration_is_the_clusters() -> None:
    (block,) = Config().blocks
    assert block.kubernetes is not None and block.kubernetes.zones == ("cluster.local.",)
