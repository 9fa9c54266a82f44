"""Directives to meaning: one reader for each plugin that is followed here; a plain sentence for those that are not.

Sources: each plugin's README and setup.go at CoreDNS 1.12. Errors have CoreDNS' form and words: file, line, directive.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any, get_args

from netlab.dns import config as c
from netlab.dns.corefile import CorefileError, Directive, ReadFiles, parse

LAB_RELOAD = 1.0
"""Seconds between two looks at the Corefile where `reload` names no interval: CoreDNS takes 30, a lab is in a hurry."""

# fmt: off
ELSEWHERE = frozenset((
    "acl", "any", "auto", "autopath", "azure", "chaos", "clouddns", "debug", "dns64", "dnssec", "dnstap",
    "erratic", "etcd", "file", "geoip", "grpc", "grpc_server", "header", "https", "k8s_external", "local",
    "metadata", "minimal", "multisocket", "nomad", "nsid", "pprof", "quic", "root", "route53", "secondary", "sign",
    "template", "timeouts", "tls", "trace", "transfer", "tsig", "view", "whoami",
))
# fmt: on
"""CoreDNS' other plugins."""


def read(text: str, file: str = "Corefile", *, read_files: ReadFiles | None = None) -> c.Config:
    """The configuration that a Corefile describes. CorefileError where it describes none."""
    blocks = parse(text, file, read_files=read_files)
    if not blocks:
        raise CorefileError(f"{file}: no server block")
    made: list[c.ServerBlock] = []
    for block in blocks:
        by_port: dict[int, list[str]] = {}
        for key in (block.name, *block.arguments):
            for zone, port in _key(block, key):
                by_port.setdefault(port, []).append(zone)
        for port, zones in by_port.items():
            for other in made:
                twice = set(zones) & set(other.zones)
                if other.port == port and twice and _binding(block) == other.bind:
                    raise block.error(f"cannot serve dns://{min(twice)}:{port} - it is already defined")
            made.append(_server(block, tuple(zones), port))
    return c.Config(tuple(made), hashlib.sha512(text.encode()).hexdigest())


def zone(text: str) -> str:
    """A zone in its usual spelling: lower case, with its final dot."""
    plain = text.lower().rstrip(".")
    return f"{plain}." if plain else "."


def reverse_zones(text: str) -> list[str]:
    """The zones of a CIDR: 10.0.0.0/24 is 0.0.10.in-addr.arpa; several where it does not end at a label."""
    network = ip_network(text, strict=False)
    step = 4 if network.version == 6 else 8
    prefix = -(-network.prefixlen // step) * step
    found = []
    for subnet in network.subnets(new_prefix=prefix):
        labels = subnet.network_address.reverse_pointer.split(".")
        found.append(".".join(labels[(subnet.max_prefixlen - prefix) // step :]) + ".")
    return found


def zones_of(text: str) -> list[str]:
    """A zone, or a CIDR's zones."""
    if "/" in text:
        try:
            return reverse_zones(text)
        except ValueError:
            pass
    return [zone(text)]


def _key(block: Directive, key: str) -> list[tuple[str, int]]:
    scheme, separator, rest = key.partition("://")
    if separator and scheme != "dns":
        raise block.error(f"{key}: {scheme} is not served here, only plain DNS over UDP and TCP")
    text, port = rest if separator else key, 53
    name, colon, number = text.rpartition(":")
    if colon and "/" not in number and not (text.count(":") > 1 and "/" in text):
        if not number.isdigit() or not 0 < int(number) < 65536:
            raise block.error(f"'{key}': expected a port number after the colon")
        text, port = name, int(number)
    return [(one, port) for one in zones_of(text or ".")]


def _server(block: Directive, zones: tuple[str, ...], port: int) -> c.ServerBlock:
    values: dict[str, Any] = {"zones": zones, "port": port, "plugins": tuple(one.name for one in block.block)}
    server = c.ServerBlock(**values)
    seen: set[str] = set()
    for directive in block.block:
        name = directive.name
        if name in ELSEWHERE:
            raise directive.error(f"'{name}' is a plugin of CoreDNS that this DNS server does not have")
        if name not in READERS:
            raise directive.error(f"Unknown directive '{name}'")
        if name in seen and name not in _REPEATED:
            raise directive.error("this plugin can only be used once per Server Block", name)
        seen.add(name)
        try:
            server = replace(server, **READERS[name](directive, server))
        except CorefileError:
            raise
        except (ValueError, re.error) as problem:
            raise directive.error(str(problem), name) from None
    return server


_REPEATED = frozenset({"forward", "rewrite", "log", "bind"})


def seconds(text: str) -> float:
    """A Go duration ("1m30s", "500ms"), or bare seconds. ValueError for anything else."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f'time: invalid duration "{text}"')
    units = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
    return sum(float(number) * units[unit] for number, unit in parts)


def _count(directive: Directive, plugin: str, least: int, most: int | None = None) -> tuple[str, ...]:
    if len(directive.arguments) < least or (most is not None and len(directive.arguments) > most):
        raise directive.argument_error(plugin)
    return directive.arguments


def _integer(directive: Directive, text: str, plugin: str, low: int = 0, high: int = 1 << 31) -> int:
    if not text.isdigit():
        raise directive.error(f'strconv.Atoi: parsing "{text}": invalid syntax', plugin)
    if not low <= int(text) <= high:
        raise directive.error(f"{directive.name} must be in range [{low}, {high}]: {text}", plugin)
    return int(text)


def _fallthrough(directive: Directive) -> c.Fallthrough:
    return c.Fallthrough(tuple(one for text in directive.arguments for one in zones_of(text)) or (".",))


def _address(directive: Directive, default: str) -> tuple[str, int]:
    """(host or "", port) of an argument such as ":8080"."""
    text = (*_count(directive, directive.name, 0, 1), default)[0]
    host, _, port = text.rpartition(":")
    if not port.isdigit():
        raise directive.error(f"address {text}: missing port in address", directive.name)
    return host.strip("[]"), int(port)


def _health(directive: Directive, _: c.ServerBlock) -> dict[str, Any]:
    lameduck = 0.0
    for option in directive.block:
        if option.name != "lameduck":
            raise option.argument_error("health")
        lameduck = seconds(_count(option, "health", 1, 1)[0])
    return {"health": _address(directive, ":8080"), "lameduck": lameduck}


def _ready(directive: Directive, _: c.ServerBlock) -> dict[str, Any]:
    return {"ready": _address(directive, ":8181")}


def _prometheus(directive: Directive, _: c.ServerBlock) -> dict[str, Any]:
    return {"prometheus": _address(directive, "localhost:9153")}


def _reload(directive: Directive, _: c.ServerBlock) -> dict[str, Any]:
    texts = _count(directive, "reload", 0, 2)
    interval = seconds(texts[0]) if texts else LAB_RELOAD
    if texts and 0 < interval < 2:
        raise directive.error("interval value must be greater or equal to 2s", "reload")
    if len(texts) > 1:
        seconds(texts[1])
    return {"reload": interval or None}


def _loadbalance(directive: Directive, _: c.ServerBlock) -> dict[str, Any]:
    texts = _count(directive, "loadbalance", 0)
    if texts and texts[0] != "round_robin":
        what = "weighted is a policy that this DNS server does not have" if texts[0] == "weighted" else texts[0]
        raise directive.error(f"unknown policy: {what}", "loadbalance")
    return {"loadbalance": True}


def _bind(directive: Directive, server: c.ServerBlock) -> dict[str, Any]:
    if directive.block:
        raise directive.block[0].error(f"unknown property '{directive.block[0].name}'", "bind")
    for text in _count(directive, "bind", 1):
        ip_address(text)  # an interface's name would be an address only where it is known: say the address
    return {"bind": (*server.bind, *directive.arguments)}


def _binding(block: Directive) -> tuple[str, ...]:
    return tuple(text for one in block.block if one.name == "bind" for text in one.arguments)


def _flag(name: str) -> Callable[[Directive, c.ServerBlock], dict[str, Any]]:
    def reader(directive: Directive, _: c.ServerBlock) -> dict[str, Any]:
        _count(directive, name, 0, 0)
        return {name: True}

    return reader


def _errors(directive: Directive, _: c.ServerBlock) -> dict[str, Any]:
    _count(directive, "errors", 0, 0)
    for option in directive.block:
        if option.name not in ("consolidate", "stacktrace"):
            raise option.error(f"unknown property '{option.name}'", "errors")
    return {"errors": True}


def _bufsize(directive: Directive, _: c.ServerBlock) -> dict[str, Any]:
    texts = _count(directive, "bufsize", 0, 1)
    return {"bufsize": _integer(directive, texts[0], "bufsize", 512, 4096) if texts else 1232}


_CLASSES = ("all", "success", "denial", "error")


def _log(directive: Directive, server: c.ServerBlock) -> dict[str, Any]:
    texts, form = list(directive.arguments), "{common}"
    if texts and "{" in texts[-1]:
        form = texts.pop()
    classes: set[str] = set()
    for option in directive.block:
        if option.name != "class":
            raise option.argument_error("log")
        for text in _count(option, "log", 1):
            if text not in _CLASSES:
                raise option.error(f"invalid Class: {text}", "log")
            classes.add(text)
    zones = tuple(one for text in texts for one in zones_of(text)) or (".",)
    return {"log": (*server.log, c.LogRule(zones, form, frozenset(classes or {"all"})))}


def _kubernetes(directive: Directive, server: c.ServerBlock) -> dict[str, Any]:
    zones = tuple(one for text in directive.arguments for one in zones_of(text)) or server.zones
    if all(one.endswith(".arpa.") for one in zones):
        raise directive.error("non-reverse zone name must be used", "kubernetes")
    values: dict[str, Any] = {"zones": zones}
    for option in directive.block:
        if option.name not in _KUBERNETES:
            raise option.error(f"unknown property '{option.name}'", "kubernetes")
        values |= _KUBERNETES[option.name](option)
    if values.get("namespaces") and values.get("namespace_labels"):
        raise directive.error("namespaces and namespace_labels cannot both be set", "kubernetes")
    return {"kubernetes": c.Kubernetes(**values)}


def _pods(option: Directive) -> dict[str, Any]:
    (mode,) = _count(option, "kubernetes", 1, 1)
    if mode not in get_args(c.Pods):
        text = f"wrong value for pods: {mode},  must be one of: disabled, verified, insecure"
        raise option.error(text, "kubernetes")
    return {"pods": mode}


def _ignore(option: Directive) -> dict[str, Any]:
    if option.arguments != ("empty_service",):
        raise option.error(f"unable to parse ignore value: '{' '.join(option.arguments)}'", "kubernetes")
    return {"ignore_empty": True}


def _in_cluster_only(option: Directive) -> dict[str, Any]:
    raise option.error(f"{option.name}: this DNS server reads the API of its own cluster only", "kubernetes")


_KUBERNETES: dict[str, Callable[[Directive], dict[str, Any]]] = {
    "ttl": lambda one: {"ttl": _integer(one, _count(one, "kubernetes", 1, 1)[0], "kubernetes", 0, 3600)},
    "pods": _pods,
    "fallthrough": lambda one: {"fallthrough": _fallthrough(one)},
    "namespaces": lambda one: {"namespaces": frozenset(text.lower() for text in _count(one, "kubernetes", 1))},
    "labels": lambda one: {"labels": " ".join(_count(one, "kubernetes", 1))},
    "namespace_labels": lambda one: {"namespace_labels": " ".join(_count(one, "kubernetes", 1))},
    "endpoint_pod_names": lambda one: {"endpoint_pod_names": not _count(one, "kubernetes", 0, 0)},
    "noendpoints": lambda one: {"endpoints": bool(_count(one, "kubernetes", 0, 0))},
    "ignore": _ignore,
    "upstream": lambda _: {},
    "resyncperiod": lambda _: {},
    "startup_timeout": lambda _: {},
    "endpoint": _in_cluster_only,
    "tls": _in_cluster_only,
    "kubeconfig": _in_cluster_only,
}


def _hosts(directive: Directive, server: c.ServerBlock) -> dict[str, Any]:
    file, *names = directive.arguments or ("/etc/hosts",)
    values: dict[str, Any] = {"file": file, "inline": ()}
    values["zones"] = tuple(one for text in names for one in zones_of(text)) or server.zones
    for option in directive.block:
        match option.name:
            case "fallthrough":
                values["fallthrough"] = _fallthrough(option)
            case "ttl":
                values["ttl"] = _integer(option, _count(option, "hosts", 1, 1)[0], "hosts", 1, 65535)
            case "no_reverse":
                values["reverse"] = False
            case "reload":
                values["reload"] = seconds(_count(option, "hosts", 1, 1)[0])
            case address:
                try:
                    entry = str(ip_address(address)), tuple(zone(text) for text in option.arguments)
                except ValueError:
                    raise option.error(f"unknown property '{address}'", "hosts") from None
                values["inline"] = (*values["inline"], entry)
    return {"hosts": c.Hosts(**values)}


def _forward(directive: Directive, server: c.ServerBlock) -> dict[str, Any]:
    source, *to = _count(directive, "forward", 1)
    if not to:
        raise directive.argument_error("forward")
    for text in to:
        if text.startswith(("tls://", "https://", "grpc://", "quic://")):
            raise directive.error(f"{text}: only plain DNS is spoken here, over UDP and TCP", "forward")
        if not text.startswith("/"):
            try:
                host_and_port(text)
            except ValueError:
                raise directive.error(f'not an IP address or file: "{text}"', "forward") from None
    values: dict[str, Any] = {"zone": zones_of(source)[0], "to": tuple(to)}
    for option in directive.block:
        if option.name not in _FORWARD:
            raise option.error(f"unknown property '{option.name}'", "forward")
        values |= _FORWARD[option.name](option)
    return {"forwards": (*server.forwards, c.Forward(**values))}


def host_and_port(text: str) -> tuple[str, int]:
    """("10.0.0.1", 53) of "10.0.0.1", "dns://10.0.0.1:53" or "[fd00::1]:53". ValueError for a name."""
    plain, port = text.removeprefix("dns://"), "53"
    bracketed = re.fullmatch(r"\[(.+)\](?::(\d+))?", plain)
    if bracketed:
        plain, port = bracketed[1], bracketed[2] or port
    elif plain.count(":") == 1:
        plain, _, port = plain.partition(":")
    return str(ip_address(plain)), int(port)


def _policy(option: Directive) -> dict[str, Any]:
    (policy,) = _count(option, "forward", 1, 1)
    if policy not in get_args(c.Policy):
        raise option.error(f"unknown policy '{policy}'", "forward")
    return {"policy": policy}


def _rcodes(option: Directive) -> frozenset[str]:
    return frozenset(text.upper() for text in _count(option, "forward", 1))


def _checked_duration(option: Directive) -> dict[str, Any]:
    """An option of which only the form matters: connections are kept as long as upstream's default."""
    seconds(_count(option, "forward", 1, 1)[0])
    return {}


_FORWARD: dict[str, Callable[[Directive], dict[str, Any]]] = {
    "except": lambda one: {"excepted": tuple(each for text in _count(one, "forward", 1) for each in zones_of(text))},
    "force_tcp": lambda one: {"force_tcp": not _count(one, "forward", 0, 0)},
    "prefer_udp": lambda one: {"prefer_udp": not _count(one, "forward", 0, 0)},
    "policy": _policy,
    "max_concurrent": lambda one: {"max_concurrent": _integer(one, _count(one, "forward", 1, 1)[0], "forward")},
    "max_fails": lambda one: {"max_fails": _integer(one, _count(one, "forward", 1, 1)[0], "forward")},
    "health_check": lambda one: {"health_check": seconds(_count(one, "forward", 1, 4)[0])},
    "failover": lambda one: {"failover": _rcodes(one)},
    "next": lambda one: {"next_on": _rcodes(one)},
    "failfast_all_unhealthy_upstreams": lambda _: {"fail_fast": True},
    "expire": _checked_duration,
}


def _cache(directive: Directive, server: c.ServerBlock) -> dict[str, Any]:
    texts = list(directive.arguments)
    values: dict[str, Any] = {}
    if texts and texts[0].isdigit():
        ttl = int(texts.pop(0))
        if ttl <= 0:
            raise directive.error(f"cache TTL can not be zero or negative: {ttl}", "cache")
        values = {"success_ttl": ttl, "denial_ttl": ttl}
    made = c.Cache(zones=tuple(one for text in texts for one in zones_of(text)) or server.zones, **values)
    for option in directive.block:
        made = replace(made, **_cache_option(option))
    return {"cache": made}


def _cache_option(option: Directive) -> dict[str, Any]:
    match option.name:
        case "success" | "denial" as kind:
            texts = _count(option, "cache", 1, 3)
            numbers = [_integer(option, text, "cache") for text in texts]
            keys = (f"{kind}_capacity", f"{kind}_ttl", f"{kind}_min_ttl")
            return dict(zip(keys, numbers, strict=False))
        case "disable":
            which, *zones = _count(option, "cache", 1)
            if which not in ("success", "denial"):
                raise option.error(f'cache type for disable must be "success" or "denial": {which}', "cache")
            return {f"no_{which}": tuple(one for text in zones for one in zones_of(text)) or (".",)}
        case "servfail":
            duration = seconds(_count(option, "cache", 1, 1)[0])
            if duration > 300:
                raise option.error("caching SERVFAIL responses over 5 minutes is not permitted", "cache")
            return {"servfail": duration}
        case "serve_stale":
            return {"stale": seconds((*_count(option, "cache", 0, 2), "1h")[0])}
        case "keepttl":
            return {"keep_ttl": True}
        case "prefetch":  # names of a lab are few and its resolvers near: nothing is fetched before it is asked for
            _count(option, "cache", 1, 3)
            return {}
        case other:
            raise option.error(f"unknown property '{other}'", "cache")


def _rewrite(directive: Directive, server: c.ServerBlock) -> dict[str, Any]:
    words, block = list(directive.arguments), directive.block
    go_on = False
    if words[:1] in (["continue"], ["stop"]):
        go_on = words.pop(0) == "continue"
    if not words and block:  # the long form: one rule a line
        words = [block[0].name, *block[0].arguments]
        for one in block[1:]:
            words += [one.name, *one.arguments]
    elif block:
        raise directive.argument_error("rewrite")
    rule = _rule(directive, words, go_on)
    return {"rewrites": (*server.rewrites, rule)}


def _rule(directive: Directive, words: list[str], go_on: bool) -> c.Rewrite:
    if not words:
        raise directive.argument_error("rewrite")
    field = words.pop(0)
    if field == "edns0":
        raise directive.error("edns0 rules are not followed by this DNS server", "rewrite")
    if field not in ("name", "type", "class", "ttl", "rcode", "cname"):
        words.insert(0, field)  # rewrite FROM TO is an exact name
        field = "name"
    if field == "cname":
        raise directive.error("cname rules are not followed by this DNS server", "rewrite")
    match: Any = words.pop(0) if words and words[0] in get_args(c.Match) and field not in ("type", "class") else "exact"
    count = 3 if field == "rcode" else 2
    if len(words) < count or (field in ("type", "class", "ttl", "rcode") and len(words) > count):
        raise directive.argument_error("rewrite")
    source, to = words[0], ",".join(words[1:count])
    if field == "name":
        rule = c.Rewrite("name", match, source, to, go_on, *_answers(directive, words[2:]))
    else:
        rule = c.Rewrite(field, match, source, to, go_on)  # type: ignore[arg-type]
    if field in ("name", "ttl", "rcode"):
        rule = replace(rule, source=_matched(match, source), to=_target(rule))
        if match == "regex":
            rule = replace(rule, source=source, pattern=re.compile(source))
    if field == "ttl" and (not re.fullmatch(r"\d*-?\d*", to) or to in ("", "-")):
        raise directive.error(f"invalid TTL value {to!r}", "rewrite")
    return rule


def _matched(match: str, text: str) -> str:
    return zone(text) if match in ("exact", "suffix") else text.lower()


def _target(rule: c.Rewrite) -> str:
    if rule.field == "name" and rule.match in ("exact", "suffix", "regex"):
        return rule.to.rstrip(".") + "."
    return rule.to


def _answers(directive: Directive, words: list[str]) -> tuple[bool, tuple[c.AnswerRule, ...]]:
    """(answer auto, the other answer rules) of the words after FROM TO."""
    auto, rules = False, []
    while words:
        if words[:2] == ["answer", "auto"]:
            auto, words = True, words[2:]
        elif words[0] == "answer" and words[1:2] in (["name"], ["value"]) and len(words) >= 4:
            part: Any = words[1]
            rules.append(c.AnswerRule(part, re.compile(words[2]), words[3].rstrip(".") + "."))
            words = words[4:]
        else:
            raise directive.argument_error("rewrite")
    return auto, tuple(rules)


READERS: dict[str, Callable[[Directive, c.ServerBlock], dict[str, Any]]] = {
    "bind": _bind,
    "bufsize": _bufsize,
    "cache": _cache,
    "errors": _errors,
    "forward": _forward,
    "health": _health,
    "hosts": _hosts,
    "kubernetes": _kubernetes,
    "loadbalance": _loadbalance,
    "log": _log,
    "loop": _flag("loop"),
    "prometheus": _prometheus,
    "ready": _ready,
    "reload": _reload,
    "rewrite": _rewrite,
}
