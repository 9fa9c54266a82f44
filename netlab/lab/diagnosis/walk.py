"""`klab why`: one connection, from the name to the process behind it. PURE.

Every stage looks at what was observed and says what is not as it should be; `order` then puts causes first. What no
stage explains, but probes show, is said as what it is: a symptom without a cause.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from netlab.lab.diagnosis import filters, network, objects, order, paths, policies, processes, rules, sockets
from netlab.lab.diagnosis.legs import End, Leg, cluster_ips, find_service
from netlab.lab.diagnosis.model import Facts, Finding, NodeProxy, Outcome, Question
from netlab.lab.diagnosis.places import key
from netlab.lab.diagnosis.plan import full_name

CONNTRACK_FULL = 0.98


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found, causes first; and how many probes of how many were answered."""

    question: Question
    findings: tuple[Finding, ...]
    probes: int
    answered: int

    @property
    def works(self) -> bool:
        return not self.findings


def diagnose(question: Question, legs: Sequence[Leg], facts: Facts) -> Diagnosis:
    """The findings for a question whose legs are these."""
    want = network.expected(facts)
    found = [*processes.api(facts), *processes.components(facts)]
    for leg in legs:
        found += _leg(question, leg, facts, want)
    sent = [o for o in facts.outcomes if not o.probe.group.endswith(("loopback", "inside", "near"))]
    probes = sum(len(outcome.results) for outcome in sent)
    return Diagnosis(question, order.causes_first(found), probes, sum(outcome.good for outcome in sent))


def _leg(question: Question, leg: Leg, facts: Facts, want: network.Expected) -> Iterator[Finding]:
    if leg.purpose == "name":
        yield from _name(question, leg, facts)
        yield from objects.resolver_service(leg, facts)
    elif leg.purpose == "data":
        yield from objects.missing_target(question, leg, facts)
    if leg.purpose in ("name", "data"):
        yield from objects.endpoints(leg, facts)
    around = nodes_of(leg)
    yield from processes.off(facts, around)
    yield from processes.nodes(facts, around)
    if leg.service is not None and leg.entry is not None:
        yield from _rules(leg, facts)
    troubled = any(not o.works for o in outcomes(leg, facts))
    yield from policies.forbidden(leg, facts)
    yield from _ways(leg, facts, want, troubled)
    yield from processes.containers(facts, pods_of(leg))
    for end in leg.ends:
        yield from sockets.listening(leg, end, facts)
    yield from _symptoms(leg, facts)


def nodes_of(leg: Leg) -> list[str]:
    """The cluster nodes that a leg meets, the caller's first."""
    return [name for name in dict.fromkeys((leg.source.node, leg.at, *(place.node for place in leg.places))) if name]


def pods_of(leg: Leg) -> list[str]:
    return [place.name for place in leg.places if place.kind == "pod"]


def outcomes(leg: Leg, facts: Facts) -> list[Outcome]:
    """What the client itself tried, and what was tried between the nodes below."""
    netns, ips = leg.source.netns, {end.ip for end in leg.ends} | ({leg.entry[0]} if leg.entry else set())
    return [
        o for o in facts.outcomes
        if (o.probe.netns == netns and o.probe.ip in ips and not o.probe.group.endswith(("inside", "loopback")))
        or (o.probe.group.startswith("under.") and o.probe.netns == leg.source.node)
    ]  # fmt: skip


# -- names ------------------------------------------------------------------------------------------------------------


def _name(question: Question, leg: Leg, facts: Facts) -> Iterator[Finding]:
    """Whether the resolver says the right thing."""
    resolv = facts.resolv.get(question.source.name, "")
    yield from _resolv_conf(question, resolv, facts)
    asked = facts.group("name")
    if not asked:
        return
    server = asked[0].probe.ip
    where = f"pod {question.source.name}"
    if all(outcome.fails for outcome in asked):
        words = "refused" if any(o.count("refused") for o in asked) else "no answer"
        yield Finding(
            "name-unanswered", "name", where, f"{words} from {server} to {asked[0].probe.name}", "an answer",
            "klab kubectl get service,endpointslices,pods -n kube-system -o wide",
        )  # fmt: skip
        return
    own = [o for o in asked if o.probe.name.endswith(f".{facts.topology.cluster.dns_domain}.")]
    lost, tries = sum(o.count("timeout") for o in own), sum(len(o.results) for o in own)
    if lost:
        yield Finding(
            "name-loss", "name", where, f"{lost} of {tries} questions to {server} got no answer", "every one answered",
            "klab why shows what loses packets on the way, where something can be seen",
        )  # fmt: skip
    yield from _answer(question, asked, facts)


def _answer(question: Question, asked: Sequence[Outcome], facts: Facts) -> Iterator[Finding]:
    good = [outcome for outcome in asked if "NOERROR" in outcome.results and outcome.addresses]
    if question.target.kind != "service":
        if not good:
            yield Finding(
                "name-unknown", "name", question.target.asked, f"no name tried has an address: {_tried(asked)}",
                "a name that the cluster's DNS or its forwarder knows",
                "klab kubectl get services -A; klab kubectl get configmap coredns -n kube-system -o yaml",
            )  # fmt: skip
        return
    service = find_service(facts.objects, question.target.name)
    full = full_name(question, facts.topology)
    mine = next((o for o in asked if o.probe.name == full), None)
    if service is None or mine is None or mine.fails:
        return
    right = cluster_ips(service)
    if right and not set(right) & set(mine.addresses):
        said = ", ".join(mine.addresses) or mine.results[0]
        yield Finding(
            "name-wrong", "name", full, f"the cluster's DNS says {said}", ", ".join(right),
            "klab kubectl logs -n kube-system deployment/coredns; klab kubectl rollout restart deployment coredns "
            "-n kube-system",
        )  # fmt: skip


def _tried(asked: Sequence[Outcome]) -> str:
    return ", ".join(f"{o.probe.name} {o.results[0]}" for o in asked)


def _resolv_conf(question: Question, resolv: str, facts: Facts) -> Iterator[Finding]:
    """A pod of DNS policy ClusterFirst whose resolv.conf says something else."""
    pod = next((p for p in facts.objects.pods if key(p) == question.source.name), None)
    wanted = sockets.expected_resolver(pod, facts.topology) if pod is not None and resolv else None
    if wanted is None:
        return
    servers, search = wanted
    have = [line.split() for line in resolv.splitlines() if line.strip()]
    named = [words[1] for words in have if words[0] == "nameserver" and len(words) > 1]
    searched = next((words[1:] for words in have if words[0] == "search"), [])
    if not set(named[:1]) & set(servers) or not set(search) <= set(searched):
        namespace, _, name = question.source.name.partition("/")
        yield Finding(
            "resolv-conf", "name", f"pod {question.source.name} /etc/resolv.conf", " ".join(resolv.split()),
            f"nameserver {servers[0]} search {' '.join(search)}",
            f"klab kubectl delete pod {name} -n {namespace}  (the kubelet writes it when a pod starts)",
        )  # fmt: skip


# -- rules ------------------------------------------------------------------------------------------------------------


def _rules(leg: Leg, facts: Facts) -> Iterator[Finding]:
    """The proxy's rules of this Service on the node that translates, and the masquerading ones."""
    nets, service = network.node_nets(facts), leg.service
    if leg.at not in nets or leg.at not in facts.machines or service is None or facts.objects.error:
        return
    yield from processes.proxies(facts, (leg.at,))
    machine, proxy = facts.machines[leg.at], facts.proxies.get(leg.at, NodeProxy("none"))
    words = [key(service), *cluster_ips(service), *rules.BASE]
    found = rules.service_rules(facts, machine, nets[leg.at])
    mine = rules.closed(found, words, machine)
    if mine:
        yield rules.service_finding(leg.at, proxy, mine, f"Service {key(service)}")
    for node in nodes_of(leg):
        if node in nets and node in facts.machines:
            masquerade = rules.masquerade_rules(facts, facts.machines[node], nets[node])
            if masquerade:
                yield rules.masquerade_finding(node, masquerade)


# -- the way ----------------------------------------------------------------------------------------------------------


def _ways(leg: Leg, facts: Facts, want: network.Expected, troubled: bool) -> Iterator[Finding]:
    """Every namespace of the way: its network, foreign rules that drop, its connection tracking."""
    packets = paths.packets(leg, facts)
    for name in paths.machines(leg, facts):
        machine = facts.machines.get(name)
        if machine is None:
            if name in want.titles:
                yield Finding(
                    "namespace-missing", "pod", want.titles[name], "its network namespace is gone", "a namespace",
                    "klab kubectl delete pod …  (a controller makes it anew)",
                )  # fmt: skip
            continue
        yield from paths.relevant(network.compare(machine, want), name, leg, facts, want)
        yield from network.diverted(machine, want, paths.destinations(name, leg, facts))
        yield from conntrack(machine.name, machine.conntrack, want)
        if troubled:
            for rule in filters.guilty(filters.suspects(machine, packets)):
                yield paths.dropped(rule, name, want)
            yield from paths.shaped(machine, facts, want)


def conntrack(name: str, found: tuple[int, int] | None, want: network.Expected) -> Iterator[Finding]:
    """That there is no room for new connections."""
    if found is not None and found[1] and found[0] >= CONNTRACK_FULL * found[1]:
        yield Finding(
            "conntrack-full", "filter", network.title(name, want),
            f"{found[0]} of {found[1]} entries of the connection tracking table are in use", "room for new connections",
            network.command(name, "conntrack -F", want),
        )  # fmt: skip


# -- what is left -----------------------------------------------------------------------------------------------------


def _symptoms(leg: Leg, facts: Facts) -> Iterator[Finding]:
    """What probes show, whether or not a cause was found; `order` puts it behind the causes."""
    for end in leg.ends:
        yield from _end_symptoms(leg, end, facts)
    entry = [o for o in facts.group(f"{leg.purpose}.entry") if leg.entry and (o.probe.ip, o.probe.port) == leg.entry]
    for outcome in entry:
        if not outcome.works:
            yield Finding(
                "service-unanswered", "rules", f"{leg.source} → {outcome.probe.ip}:{outcome.probe.port}",
                f"{outcome.good} of {len(outcome.results)} tries were answered ({_words(outcome)})", "all of them",
                f"klab explain svc/{leg.service['metadata']['name']} -n {leg.service['metadata']['namespace']}"
                f" --node {leg.at}" if leg.service and leg.at else f"klab trace {leg.source.name} {outcome.probe.ip}",
            )  # fmt: skip
        elif outcome.slowest >= 1.0 and outcome.probe.kind == "tcp":
            yield _loss(leg, outcome, "a first packet was lost: the slowest connection took a second or more")


def _end_symptoms(leg: Leg, end: End, facts: Facts) -> Iterator[Finding]:
    mine = {o.probe.group.partition(".")[2]: o for o in outcomes(leg, facts) if o.probe.ip == end.ip}
    call, ping, full = mine.get("end"), mine.get("ping"), mine.get("full")
    if ping is not None and full is not None and not ping.fails and full.fails:
        yield Finding(
            "mtu", "underlay", f"{leg.source} → {end.ip}",
            f"packets of {full.probe.size} bytes do not arrive ({_words(full)}), small ones do",
            f"packets of up to {full.probe.size} bytes",
            "compare the MTUs of the way: klab exec NODE -- ip link; klab exec NODE -- nft list ruleset",
        )  # fmt: skip
    if call is not None and not call.works:
        yield Finding(
            "endpoint-unanswered", "pod", f"{leg.source} → {end}",
            f"{call.good} of {len(call.results)} tries were answered ({_words(call)})", "all of them",
            f"klab trace {leg.source.name} {end}",
        )  # fmt: skip
    elif ping is not None and ping.lossy:
        yield _loss(leg, ping, f"{ping.count('timeout')} of {len(ping.results)} echo requests were lost")


def _loss(leg: Leg, outcome: Outcome, what: str) -> Finding:
    return Finding(
        "loss", "underlay", f"{leg.source} → {outcome.probe.ip}", what, "nothing lost",
        f"klab capture on the way shows where: klab trace {leg.source.name} {outcome.probe.ip}",
    )  # fmt: skip


def _words(outcome: Outcome) -> str:
    counted = {word: outcome.results.count(word) for word in dict.fromkeys(outcome.results)}
    return ", ".join(f"{number}x {word}" for word, number in counted.items())
