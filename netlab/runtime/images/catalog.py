"""The images that are always there: a table. A row is a name people use and what stands behind it here.

`needs` names programs of the machine without which the image is not offered, and the Debian package that has them.
"""

import hashlib
import shutil
from dataclasses import dataclass
from typing import Literal

from netlab.runtime.images.model import Image
from netlab.runtime.images.reference import home, parse
from netlab.sandbox.paths import bundled_program

AGNHOST_TOOLS = "/opt/agnhost/bin"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/netlab/bin:/opt/busybox/bin"
REAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Programs in images that are forks of PID 1 (or of the zygote): name → (target, via).
TARGETS: dict[str, tuple[str, Literal["init", "zygote"]]] = {
    "agnhost": ("netlab.runtime.builtin.agnhost:main", "init"),
    "pause": ("netlab.runtime.builtin.pause:main", "init"),
    "consumer": ("netlab.runtime.builtin.agnhost:resource_consumer", "init"),
    "http-echo": ("netlab.runtime.builtin.httpecho:main", "init"),
    "httpd": ("netlab.runtime.builtin.httpd:main", "init"),
    "update-demo": ("netlab.runtime.builtin.httpd:update_demo", "init"),
    "loadgen": ("netlab.runtime.builtin.loadgen:main", "init"),
    "coredns": ("netlab.dns.program:main", "zygote"),
    "node-cache": ("netlab.dns.nodecache:main", "zygote"),
    "metrics-server": ("netlab.metrics.server:main", "zygote"),
    "sample-apiserver": ("netlab.wardle.server:main", "zygote"),
    "etcd": ("netlab.runtime.builtin.etcd:main", "init"),
}


@dataclass(frozen=True, slots=True)
class Row:
    names: tuple[str, ...]
    kind: Literal["host", "builtin"]
    description: str
    tag: str = "latest"
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    view: str = "host"
    programs: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    package: str = ""
    user: str = ""
    stop_signal: str = "SIGTERM"
    ports: tuple[str, ...] = ()
    path: str = PATH


ROWS = (
    Row(
        ("registry.k8s.io/e2e-test-images/agnhost", "agnhost"),
        "builtin",
        "upstream's test image: netexec, connect, pause, serve-hostname, porter, …",
        tag="2.53",
        entrypoint=("/agnhost",),
        cmd=("pause",),
        programs=("agnhost", "coredns"),
        path=f"{AGNHOST_TOOLS}:{PATH}",
    ),
    Row(
        ("registry.k8s.io/e2e-test-images/resource-consumer",),
        "builtin",
        "uses as much processor or memory as it is told to",
        tag="1.13",
        entrypoint=("/consumer",),
        programs=("consumer",),
        ports=("8080/tcp",),
    ),
    Row(
        ("registry.k8s.io/pause", "registry.k8s.io/pause-amd64", "rancher/mirrored-pause", "pause"),
        "builtin",
        "does nothing until it is told to end",
        tag="3.10",
        entrypoint=("/pause",),
        programs=("pause",),
    ),
    Row(
        ("registry.k8s.io/coredns/coredns", "coredns/coredns"),
        "builtin",
        "the cluster's DNS server",
        tag="v1.12.1",
        entrypoint=("/coredns",),
        programs=("coredns",),
        ports=("53/udp", "53/tcp"),
    ),
    Row(
        ("registry.k8s.io/dns/k8s-dns-node-cache",),
        "builtin",
        "a DNS cache on every node, NodeLocal DNSCache",
        tag="1.26.4",
        entrypoint=("/node-cache",),
        programs=("node-cache",),
        ports=("53/udp", "53/tcp"),
    ),
    Row(
        ("registry.k8s.io/metrics-server/metrics-server", "metrics-server/metrics-server"),
        "builtin",
        "serves metrics.k8s.io from what the kubelets measure",
        tag="v0.7.2",
        entrypoint=("/metrics-server",),
        programs=("metrics-server",),
        ports=("10250/tcp",),
    ),
    Row(
        ("registry.k8s.io/e2e-test-images/sample-apiserver",),
        "builtin",
        "upstream's sample API server: wardle.example.com, kept in an etcd beside it",
        tag="1.29.2",
        entrypoint=("/sample-apiserver", "--etcd-servers=http://localhost:2379"),
        programs=("sample-apiserver",),
        ports=("443/tcp",),
    ),
    Row(
        ("registry.k8s.io/etcd", "k8s.gcr.io/etcd", "quay.io/coreos/etcd"),
        "builtin",
        "one etcd member in memory: the JSON gateway's /v3/kv alone",
        tag="3.5.21-0",
        entrypoint=("/usr/local/bin/etcd",),
        programs=("etcd",),
        ports=("2379/tcp",),
    ),
    Row(
        ("hashicorp/http-echo", "http-echo"),
        "builtin",
        "answers every HTTP request with -text",
        tag="1.0.0",
        entrypoint=("/http-echo",),
        programs=("http-echo",),
        ports=("5678/tcp",),
    ),
    Row(
        ("httpd", "registry.k8s.io/e2e-test-images/httpd"),
        "builtin",
        "serves /usr/local/apache2/htdocs on port 80, as the official image of Apache's server",
        tag="2.4",
        entrypoint=("/httpd",),
        programs=("httpd",),
        stop_signal="SIGWINCH",
        ports=("80/tcp",),
    ),
    Row(
        ("registry.k8s.io/e2e-test-images/nautilus",),
        "builtin",
        "the update demo: port 80, /data.json says which picture it shows",
        tag="1.7",
        entrypoint=("/update-demo",),
        programs=("update-demo",),
        ports=("80/tcp",),
    ),
    Row(
        ("registry.k8s.io/serve_hostname",),
        "builtin",
        "answers with the pod's name, port 9376",
        entrypoint=("/agnhost", "serve-hostname"),
        programs=("agnhost",),
    ),
    Row(
        ("netlab/loadgen",),
        "builtin",
        "asks a URL at a rate and counts answers and latencies",
        entrypoint=("/loadgen",),
        programs=("loadgen",),
    ),
    Row(
        ("busybox", "registry.k8s.io/e2e-test-images/busybox", "registry.k8s.io/busybox"),
        "host",
        "BusyBox alone, static, in a /bin of its own",
        tag="1.35",
        cmd=("sh",),
        view="busybox",
        needs=("busybox",),
        package="busybox-static",
        path=REAL_PATH,
    ),
    Row(
        ("nginx", "registry.k8s.io/e2e-test-images/nginx", "registry.k8s.io/nginx"),
        "host",
        "this machine's nginx, configured as the official image is",
        cmd=("nginx", "-g", "daemon off;"),
        view="nginx",
        needs=("nginx",),
        package="nginx-light",
        stop_signal="SIGQUIT",
        ports=("80/tcp",),
    ),
    Row(
        (
            "registry.k8s.io/e2e-test-images/jessie-dnsutils",
            "registry.k8s.io/e2e-test-images/dnsutils",
            "tutum/dnsutils",
            "dnsutils",
        ),
        "host",
        "this machine's tools: nslookup, dig, host where installed",
        tag="1.7",
        cmd=("sleep", "infinity"),
    ),
    Row(
        (
            "nicolaka/netshoot",
            "netshoot",
            "wbitt/network-multitool",
            "praqma/network-multitool",
            "registry.k8s.io/build-image/distroless-iptables",
        ),
        "host",
        "this machine's network tools",
        cmd=("/bin/sh",),
    ),
    Row(("netlab/host", "host"), "host", "this machine's programs", cmd=("/bin/sh",)),
    Row(("ubuntu", "debian", "fedora", "centos"), "host", "this machine's programs and its bash", cmd=("bash",)),
    Row(
        ("alpine",),
        "host",
        "BusyBox alone, as in Alpine's image; no apk",
        cmd=("/bin/sh",),
        view="busybox",
        needs=("busybox",),
        package="busybox-static",
        path=REAL_PATH,
    ),
    Row(
        ("python",),
        "host",
        "this machine's Python, also called python",
        cmd=("python3",),
        path=f"{PATH}:/root/.local/bin",
    ),
    Row(
        ("redis",),
        "host",
        "this machine's Redis",
        cmd=("redis-server", "--protected-mode", "no"),
        needs=("redis-server",),
        package="redis-server",
        ports=("6379/tcp",),
    ),
    Row(
        ("memcached",),
        "host",
        "this machine's memcached",
        cmd=("memcached", "-u", "root"),
        needs=("memcached",),
        package="memcached",
        ports=("11211/tcp",),
    ),
    Row(
        ("curlimages/curl",),
        "host",
        "this machine's curl",
        entrypoint=("curl",),
        needs=("curl",),
        package="curl",
    ),
)


def _which(program: str) -> str | None:
    return shutil.which(program, path=REAL_PATH) or (str(found) if (found := bundled_program(program)) else None)


def available(row: Row) -> bool:
    return all(_which(program) for program in row.needs)


def image(row: Row) -> Image:
    names = tuple(f"{parse(name).repository}:{row.tag}" for name in row.names)
    digest = hashlib.sha256(repr(row).encode()).hexdigest()
    return Image(
        id=f"sha256:{digest}",
        names=names,
        kind=row.kind,
        entrypoint=row.entrypoint,
        cmd=row.cmd,
        env=(("PATH", row.path),),
        user=row.user,
        stop_signal=row.stop_signal,
        view=row.view,
        programs=row.programs,
        exposed_ports=row.ports,
        any_tag=True,
        description=row.description,
    )


def images() -> list[Image]:
    return [image(row) for row in ROWS if available(row)]


def hint(repository: str) -> str:
    """For an image that would be here if a program were."""
    wanted = home(repository)
    for row in ROWS:
        if wanted in {parse(name).repository for name in row.names} and not available(row):
            return f"it needs a program of this machine: install the package {row.package}"
    return ""
