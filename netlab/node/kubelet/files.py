"""The files that the kubelet writes for a pod: /etc/hosts, /etc/resolv.conf, /etc/hostname. Pure text.

Follows upstream pkg/kubelet/kubelet_pods.go (managedHostsFileContent, GeneratePodHostNameAndDomain) and
pkg/kubelet/network/dns/dns.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netlab.api.types import Obj

HOSTS_HEADER = "# Kubernetes-managed hosts file.\n"
HOST_NETWORK_HOSTS_HEADER = "# Kubernetes-managed hosts file (host network).\n"
HOSTNAME_LIMIT = 63
MAX_SEARCHES = 32
MAX_NAMESERVERS = 3


@dataclass(frozen=True)
class Resolver:
    """What /etc/resolv.conf says."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def text(self) -> str:
        """As containerd writes it: search, nameservers, options."""
        lines = [f"search {' '.join(self.searches)}"] if self.searches else []
        lines += [f"nameserver {server}" for server in self.nameservers]
        if self.options:
            lines.append(f"options {' '.join(self.options)}")
        return "".join(line + "\n" for line in lines)


def hostname_and_domain(pod: Obj, dns_domain: str) -> tuple[str, str]:
    """(short host name, full domain or ""): `spec.hostname`, or the pod's name cut to 63 characters."""
    spec, meta = pod["spec"], pod["metadata"]
    name = spec.get("hostname") or str(meta["name"])[:HOSTNAME_LIMIT].rstrip("-.")
    subdomain = spec.get("subdomain")
    domain = f"{subdomain}.{meta['namespace']}.svc.{dns_domain}" if subdomain else ""
    return name, domain


def hostname(pod: Obj, dns_domain: str) -> str:
    """What `hostname` prints in the pod; the whole name where setHostnameAsFQDN asks for it."""
    name, domain = hostname_and_domain(pod, dns_domain)
    return f"{name}.{domain}" if domain and pod["spec"].get("setHostnameAsFQDN") else name


def hosts_file(pod: Obj, pod_ips: Sequence[str], dns_domain: str, node_hosts: str = "") -> str:
    """/etc/hosts of a pod. `node_hosts` is the node's own file, used by pods on the host's network."""
    spec = pod["spec"]
    if spec.get("hostNetwork"):
        text = HOST_NETWORK_HOSTS_HEADER + node_hosts
    else:
        name, domain = hostname_and_domain(pod, dns_domain)
        text = (
            HOSTS_HEADER
            + "127.0.0.1\tlocalhost\n"
            + "::1\tlocalhost ip6-localhost ip6-loopback\n"
            + "fe00::0\tip6-localnet\n"
            + "fe00::0\tip6-mcastprefix\n"
            + "fe00::1\tip6-allnodes\n"
            + "fe00::2\tip6-allrouters\n"
        )
        full = f"{name}.{domain}\t{name}" if domain else name
        text += "".join(f"{ip}\t{full}\n" for ip in pod_ips)
    aliases = spec.get("hostAliases") or ()
    if aliases:
        text += "\n# Entries added by HostAliases.\n"
        text += "".join(f"{alias['ip']}\t{chr(9).join(alias.get('hostnames') or ())}\n" for alias in aliases)
    return text


def resolver(pod: Obj, dns_ip: str, dns_domain: str, node: Resolver) -> Resolver:
    """The pod's resolver by dnsPolicy and dnsConfig. `node` is what the node itself uses (dnsPolicy Default)."""
    spec = pod["spec"]
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and spec.get("hostNetwork"):
        policy = "Default"
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet"):
        namespace = pod["metadata"]["namespace"]
        cluster = (f"{namespace}.svc.{dns_domain}", f"svc.{dns_domain}", dns_domain)
        base = Resolver((dns_ip,), (*cluster, *node.searches), ("ndots:5",))
    elif policy == "Default":
        base = node
    else:
        base = Resolver()
    return _with_config(base, spec.get("dnsConfig"))


def _with_config(base: Resolver, config: Obj | None) -> Resolver:
    searches, servers, options = base.searches, base.nameservers, base.options
    if config:
        servers = (*servers, *(config.get("nameservers") or ()))
        searches = (*searches, *(config.get("searches") or ()))
        options = _merge_options(options, config.get("options") or ())
    return Resolver(
        tuple(dict.fromkeys(servers))[:MAX_NAMESERVERS], tuple(dict.fromkeys(searches))[:MAX_SEARCHES], options
    )


def _merge_options(existing: Sequence[str], wanted: Sequence[Obj]) -> tuple[str, ...]:
    merged = {text.partition(":")[0]: text for text in existing}
    for option in wanted:
        value = option.get("value")
        merged[option["name"]] = f"{option['name']}:{value}" if value else str(option["name"])
    return tuple(merged.values())


def parse_resolver(text: str) -> Resolver:
    """Read a resolv.conf (the node's)."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    for line in text.splitlines():
        word, *rest = line.split() or [""]
        if word == "nameserver" and rest:
            servers.append(rest[0])
        elif word == "search":
            searches = tuple(name.rstrip(".") or name for name in rest)
        elif word == "options":
            options = tuple(rest)
    return Resolver(tuple(servers), searches, options)
