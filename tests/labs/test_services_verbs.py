"""Services in a person's hands: proxy-mode, conntrack, explain, and what the proxy says of itself; on one lab."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from netlab.kernel import features
from tests.labs.tools import User, one_sentence, until

CALL = "import socket; s = socket.create_connection(('10.96.0.1', 443), 10); print(s.getsockname()[1])"
CALLS = """
import socket, time
for _ in range(12):
    socket.create_connection(('10.96.0.1', 443), 10).close()
    time.sleep(0.5)
"""
FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"


def test_services_three_ways(caller: User) -> None:
    assert caller.klab("up", "single").returncode == 0
    assert mode_of(caller) == ("iptables", "ready")
    _explained(caller)
    _tracked(caller)
    _switched(caller)
    _measured(caller)
    _left_to_another(caller)


def on_node(user: User, code: str, *arguments: str) -> str:
    done = user.klab("exec", "node", "--", sys.executable, "-c", code, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def mode_of(user: User) -> tuple[str, str]:
    found = json.loads(user.klab("proxy-mode", "-o", "json").stdout)["node"]
    return found["mode"], found["state"]


def explained(user: User, *arguments: str) -> list[dict[str, Any]]:
    done = user.klab("explain", *arguments, "-o", "json")
    assert done.returncode == 0, done.stderr
    explanations: list[dict[str, Any]] = json.loads(done.stdout)["explanations"]
    return explanations


def ends(explanation: dict[str, Any]) -> set[tuple[str, float, bool]]:
    (entrance,) = explanation["entrances"]
    return {(one["endpoint"], round(one["share"], 3), one["masqueraded"]) for one in entrance["endings"]}


def _explained(user: User) -> None:
    (live,) = explained(user, "svc/kubernetes")
    assert (live["mode"], live["live"]) == ("iptables", True)
    ((endpoint, share, masqueraded),) = ends(live)
    assert endpoint.endswith(":6443")
    assert (share, masqueraded) == (1.0, False)

    def packets() -> int:
        (found,) = explained(user, "svc/kubernetes", "--from", "node")
        (entrance,) = found["entrances"]
        assert {one["masqueraded"] for one in entrance["endings"]} == {True}
        return int(max(stage["packets"] for stage in entrance["stages"] if "DNAT" in stage["rule"]))

    before = packets()
    on_node(user, CALL)
    assert packets() > before, "the counters are live"
    three = explained(user, "svc/kube-dns:dns", "-n", "kube-system", "--mode", "all")
    assert {(one["mode"], one["live"]) for one in three} == {("iptables", True), ("ipvs", False), ("nftables", False)}
    assert ends(three[0]) == ends(three[1]) == ends(three[2])
    text = user.klab("explain", "kube-dns", "-n", "kube-system", "--mode", "all").stdout
    assert "its destination becomes" in text
    for wrong in (("svc/kubernets",), ("svc/kubernetes:1",), ("svc/kubernetes", "--node", "nod")):
        refused = user.klab("explain", *wrong)
        assert refused.returncode == 2
        one_sentence(refused.stderr)


def _tracked(user: User) -> None:
    port = int(on_node(user, CALL))
    found = json.loads(user.klab("conntrack", "--service", "kubernetes", "-o", "json").stdout)
    (entry,) = [one for one in found if one["original"]["sport"] == port]
    assert (entry["protocol"], entry["service"], entry["server"]) == ("tcp", "default/kubernetes:https", "node")
    assert entry["destinationTranslated"]
    assert entry["reply"]["sport"] == 6443
    table = user.klab("conntrack", "--service", "default/kubernetes:https").stdout
    assert "10.96.0.1:443 (default/kubernetes:https)" in table
    nobody = user.klab("conntrack", "--pod", "nobody")
    assert nobody.returncode == 2
    one_sentence(nobody.stderr)
    _watched(user)


def _watched(user: User) -> None:
    command = [*user.klab_command, "conntrack", "--watch", "--service", "kubernetes", "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=user.environment, cwd="/") as process:
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline()) == {"following": 1}
            port = int(on_node(user, CALL))
            for line in process.stdout:
                entry = json.loads(line)
                if entry["original"]["sport"] == port:
                    break
            assert entry["event"] == "new"
        finally:
            process.terminate()


def _switched(user: User) -> None:
    changed = user.klab("proxy-mode", "nftables")
    assert changed.returncode == 0, changed.stderr
    assert mode_of(user) == ("nftables", "ready")
    assert "KUBE-" not in user.klab("exec", "node", "--", "iptables-save").stdout, "nothing of the former mode is left"
    on_node(user, CALL)
    (live,) = explained(user, "svc/kubernetes")
    assert (live["mode"], live["live"]) == ("nftables", True)
    _counted(user)
    able = all(features.has(name) for name in ("ip_vs", "dummy", "ip_set"))
    tried = user.klab("proxy-mode", "ipvs")
    if able:
        assert mode_of(user) == ("ipvs", "ready")
    else:
        assert tried.returncode == 1
        assert tried.stderr.startswith("Error: proxy mode ipvs needs ")
        assert "scripts/vm-test" in tried.stderr
        one_sentence(tried.stderr)
        assert mode_of(user) == ("nftables", "ready"), "refused, and nothing touched"
    on_node(user, CALL)
    assert user.klab("proxy-mode", "iptables", "--node", "node").returncode == 0
    assert "kube-proxy" not in user.klab("exec", "node", "--", "nft", "list", "tables").stdout
    on_node(user, CALL)


def _counted(user: User) -> None:
    """In nftables mode, whose rules count nothing: what came while someone looked, and where it went."""
    with ThreadPoolExecutor() as pool:
        calling = pool.submit(on_node, user, CALLS)
        (found,) = explained(user, "svc/kubernetes", "--from", "node", "--count", "3")
        calling.result()
    (entrance,) = found["entrances"]
    seen = {stage["words"]: stage["packets"] for stage in entrance["stages"] if stage["packets"] is not None}
    assert set(seen) == {
        "found in the map service-ips",
        f"its destination becomes {entrance['endings'][0]['endpoint']}",
    }
    (came, went) = seen.values()
    assert came == went > 0
    assert "netlab-explain" not in user.klab("exec", "node", "--", "nft", "list", "tables").stdout


def _measured(user: User) -> None:
    assert on_node(user, FETCH, "http://127.0.0.1:10249/proxyMode").strip() == "iptables"
    text = on_node(user, FETCH, "http://127.0.0.1:10249/metrics")
    assert 'kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv4"}' in text
    assert "kubeproxy_network_programming_duration_seconds_bucket" in text
    assert '"nodeEligible": true' in on_node(user, FETCH, "http://127.0.0.1:10256/healthz")


def _left_to_another(user: User) -> None:
    left = user.klab("proxy-mode", "external")
    assert left.returncode == 0, left.stderr
    kubeconfig = next(word for word in left.stdout.split() if word.endswith("kube-proxy.kubeconfig"))
    services = user.kubectl("--kubeconfig", kubeconfig, "--server", server(user), "get", "services", "-A", "-o", "name")
    assert "service/kubernetes" in services.stdout, services.stderr
    assert "KUBE-" not in user.klab("exec", "node", "--", "iptables-save").stdout
    assert user.klab("down").returncode == 0
    assert user.klab("up", "--name", "single").returncode == 0
    until("the choice is kept over a restart", lambda: mode_of(user) == ("external", "ready"))
    assert "KUBE-SEP" not in user.klab("exec", "node", "--", "iptables-save").stdout


def server(user: User) -> str:
    return str(json.loads(user.klab("env", "-o", "json").stdout)["api"])
