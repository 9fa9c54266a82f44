"""sig-network's conformance names about DNS and hosts files, as upstream's test/e2e/network/dns.go tests them."""

from __future__ import annotations

import pytest

from tests.labs.sig_network_lab import conformance, lab, space  # noqa: F401
from tests.labs.sig_network_tools import AGNHOST, JESSIE, Obj, Space

pytestmark = pytest.mark.timeout(300)

SUBDOMAIN = "dns-test-service-2"


def _script(
    names: list[str], prefix: str, ns: str, hosts: tuple[str, str] | None, pointer: str
) -> tuple[str, list[str]]:
    """A loop that looks everything up, over UDP and TCP, and leaves a file for each that worked; and those files."""
    steps, files = [], []

    def probe(file: str, command: str) -> None:
        files.append(file)
        steps.append(f'check="$$({command})" && test -n "$$check" && echo OK > /results/{file}')

    for name in names:
        kind = "SRV" if name.startswith("_") else "A"
        for protocol, flag in (("udp", "+notcp"), ("tcp", "+tcp")):
            probe(f"{prefix}_{protocol}@{name}", f"dig {flag} +noall +answer +search {name} {kind}")
    for host in hosts or ():
        probe(f"{prefix}_hosts@{host}", f"getent hosts {host}")
    if pointer:
        reverse = ".".join(reversed(pointer.split("."))) + ".in-addr.arpa."
        for protocol, flag in (("udp", "+notcp"), ("tcp", "+tcp")):
            probe(f"{pointer}_{protocol}@PTR", f"dig {flag} +noall +answer +search {reverse} PTR")
    return "for i in `seq 1 600`; do " + "; ".join(steps) + "; sleep 1; done", files


def _prober(ns: Space, name: str, scripts: dict[str, str], hostname: str = "", subdomain: str = "") -> None:
    """A web server over /results, and a container with each script."""
    mount = [{"name": "results", "mountPath": "/results"}]
    probing = [
        {"name": who, "image": JESSIE if "jessie" in who else AGNHOST, "command": ["sh", "-c", script],
         "volumeMounts": mount}
        for who, script in scripts.items()
    ]  # fmt: skip
    web = {"name": "webserver", "image": AGNHOST, "args": ["test-webserver"], "volumeMounts": mount,
           "ports": [{"name": "http", "containerPort": 80}]}  # fmt: skip
    spec: Obj = {"volumes": [{"name": "results", "emptyDir": {}}], "containers": [web, *probing]}
    spec |= {"hostname": hostname, "subdomain": subdomain} if hostname else {}
    spec["terminationGracePeriodSeconds"] = 0
    ns.create("pods", {"metadata": {"name": name, "labels": {"dns-test": "true", "name": hostname}}, "spec": spec})
    ns.ready(name)


def _succeed(ns: Space, pod: str, files: list[str], content: str = "OK") -> None:
    missing: list[str] = []

    def all_there() -> bool:
        listed = []
        for file in files:
            try:
                if content not in ns.api.text(ns.path("pods", pod) + f"/proxy/results/{file}"):
                    listed.append(file)
            except Exception:
                listed.append(file)
        missing[:] = listed
        return not listed

    try:
        ns.wait(f"the results {files} of {pod}", all_there)
    except AssertionError as problem:
        raise AssertionError(f"{problem}\nmissing: {missing}") from None


def _looked_up(
    ns: Space, names: list[str], hosts: tuple[str, str] | None = None, pointer: str = "", **where: str
) -> None:
    scripts, files = {}, []
    for who, prefix in (("querier", "wheezy"), ("jessie-querier", "jessie")):
        scripts[who], found = _script(names, prefix, ns.name, hosts, pointer)
        files += found
    _prober(ns, "dns-test", scripts, **where)
    _succeed(ns, "dns-test", files)


def _headless(ns: Space, name: str, selector: Obj) -> None:
    ns.service(name, [{"port": 80, "name": "http", "protocol": "TCP"}], selector, clusterIP="None")


@conformance("DNS should provide DNS for the cluster")
def test_cluster(space: Space) -> None:  # noqa: F811
    _looked_up(space, ["kubernetes.default.svc.cluster.local"])


@conformance("DNS should provide /etc/hosts entries for the cluster")
def test_hosts(space: Space) -> None:  # noqa: F811
    _headless(space, "dns-test-service", {"dns-test": "true"})
    full = f"dns-querier-1.dns-test-service.{space.name}.svc.cluster.local"
    _looked_up(space, [], (full, "dns-querier-1"), hostname="dns-querier-1", subdomain="dns-test-service")


@conformance("DNS should provide DNS for services")
def test_services(space: Space) -> None:  # noqa: F811
    _headless(space, "dns-test-service", {"dns-test": "true"})
    ports = [{"port": 80, "name": "http", "protocol": "TCP"}]
    regular = space.service("test-service-2", ports, {"dns-test": "true"})
    names = []
    for service in ("dns-test-service", "test-service-2"):
        names += [f"{service}.{space.name}.svc.cluster.local", f"_http._tcp.{service}.{space.name}.svc.cluster.local"]
    _looked_up(space, names, pointer=regular["spec"]["clusterIP"])


@conformance("DNS should resolve DNS of partial qualified names for services [LinuxOnly]")
def test_partial(space: Space) -> None:  # noqa: F811
    _headless(space, "dns-test-service", {"dns-test": "true"})
    ports = [{"port": 80, "name": "http", "protocol": "TCP"}]
    regular = space.service("test-service-2", ports, {"dns-test": "true"})
    ns = space.name
    names = ["dns-test-service", f"dns-test-service.{ns}", f"dns-test-service.{ns}.svc"]
    names += [f"_http._tcp.{service}.{ns}.svc" for service in ("dns-test-service", "test-service-2")]
    _looked_up(space, names, pointer=regular["spec"]["clusterIP"])


@conformance("DNS should provide DNS for pods for Hostname")
def test_hostname(space: Space) -> None:  # noqa: F811
    _headless(space, SUBDOMAIN, {"dns-test": "true"})
    full = f"dns-querier-2.{SUBDOMAIN}.{space.name}.svc.cluster.local"
    _looked_up(space, [], (full, "dns-querier-2"), hostname="dns-querier-2", subdomain=SUBDOMAIN)


@conformance("DNS should provide DNS for pods for Subdomain")
def test_subdomain(space: Space) -> None:  # noqa: F811
    _headless(space, SUBDOMAIN, {"dns-test": "true"})
    full = f"dns-querier-2.{SUBDOMAIN}.{space.name}.svc.cluster.local"
    service = f"{SUBDOMAIN}.{space.name}.svc.cluster.local"
    _looked_up(space, [full, service], hostname="dns-querier-2", subdomain=SUBDOMAIN)


@conformance("DNS should provide DNS for ExternalName services")
def test_external_name(space: Space) -> None:  # noqa: F811
    name = "dns-test-service-3"
    space.create("services", {"metadata": {"name": name},
                              "spec": {"type": "ExternalName", "externalName": "foo.example.com"}})  # fmt: skip
    full = f"{name}.{space.name}.svc.cluster.local"

    def asked(pod: str, kind: str, answer: str) -> None:
        scripts = {
            who: f"for i in `seq 1 60`; do dig +short {full} {kind} > /results/{prefix}_udp@{full}; sleep 1; done"
            for who, prefix in (("querier", "wheezy"), ("jessie-querier", "jessie"))
        }
        _prober(space, pod, scripts)
        _succeed(space, pod, [f"{prefix}_udp@{full}" for prefix in ("wheezy", "jessie")], answer)

    asked("dns-test-1", "CNAME", "foo.example.com.\n")
    space.change_service(name, externalName="bar.example.com")
    asked("dns-test-2", "CNAME", "bar.example.com.\n")
    ports = [{"port": 80, "name": "http", "protocol": "TCP"}]
    changed = space.change_service(name, type="ClusterIP", externalName=None, ports=ports)
    asked("dns-test-3", "A", changed["spec"]["clusterIP"] + "\n")


@conformance("DNS should support configurable pod DNS nameservers")
def test_configured(space: Space) -> None:  # noqa: F811
    config = {"nameservers": ["1.1.1.1"], "searches": ["resolv.conf.local"]}
    space.pod("test-dns-nameservers", "pause", dnsPolicy="None", dnsConfig=config)
    assert space.sh("test-dns-nameservers", "/agnhost dns-suffix").strip() == "resolv.conf.local"
    assert space.sh("test-dns-nameservers", "/agnhost dns-server-list").strip() == "1.1.1.1"
