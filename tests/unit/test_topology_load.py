"""What good topology files mean: names, interfaces, addresses, defaults, routes."""

from pathlib import Path

import pytest

from netlab import topology
from netlab.topology.routing import neighbours, routes

SHIPPED = ("course", "single", "dual-stack", "leaf-spine", "wan", "fattree")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_topology_loads_and_its_dump_loads_to_the_same(name: str) -> None:
    loaded = topology.load(name)
    assert topology.loads(topology.dump(loaded)) == loaded


def test_all_shipped_files_are_in_the_list() -> None:
    assert set(topology.available()) == set(SHIPPED)


def test_course_has_the_places_that_the_labs_speak_of() -> None:
    course = topology.load("course")
    assert [(node.name, node.role) for node in course.nodes] == [
        ("master", "control-plane"),
        ("node1", "worker"),
        ("node2", "worker"),
    ]
    assert [host.name for host in course.hosts] == ["registry", "client"]
    assert {name: course.node_ip(name) for name in ("master", "node1", "node2", "registry", "client")} == {
        "master": "192.168.77.2",
        "node1": "192.168.77.3",
        "node2": "192.168.77.4",
        "registry": "192.168.77.5",
        "client": "203.0.113.10",
    }
    assert [end.address for end in course.attachments("router")] == ["192.168.77.1/24", "203.0.113.1/24"]
    assert course.underlay_if("node1") == "eth0"
    assert {name: [str(route) for route in found] for name, found in routes(course).items()} == {
        **{key: ["default via 192.168.77.1 dev eth0"] for key in ("master", "node1", "node2", "registry")},
        "client": ["default via 203.0.113.1 dev eth0"],
        "router": [],
    }


def test_a_control_plane_node_is_tainted_only_where_workers_exist() -> None:
    assert [str(taint) for taint in topology.load("course").node("master").taints] == [
        "node-role.kubernetes.io/control-plane:NoSchedule"
    ]
    assert topology.load("single").node("node").taints == ()


def test_leaf_spine_routes_take_both_spines() -> None:
    fabric = topology.load("leaf-spine")
    assert len(fabric.workers) == 16
    table = routes(fabric)
    assert str(table["node1"][0]) == "default via 10.1.1.1 dev eth0"
    to_rack2 = next(route for route in table["leaf1"] if route.destination == "10.1.2.0/24")
    assert len(to_rack2.hops) == 2
    assert all(len(route.hops) == 1 for route in table["spine1"] if route.destination.startswith("10.1."))


def test_routes_lead_to_their_destination_from_everywhere() -> None:
    fabric = topology.load("leaf-spine")
    table, owner = routes(fabric), {}
    for link in fabric.links:
        for end in link.ends:
            owner[end.ip] = end.node
    connected = {
        name: {fabric.segment_of(end).subnet for end in fabric.attachments(name) if end.address} for name in table
    }
    for start in table:
        for target in (segment.subnet for segment in fabric.segments):
            here, passed = start, 0
            while target not in connected[here]:
                known = {route.destination: route for route in table[here]}
                here = owner[(known.get(target) or known["default"]).hops[0].via]
                passed += 1
                assert passed < 5


def test_without_a_router_a_node_has_an_on_link_default_route_and_a_host_none() -> None:
    table = routes(topology.load("single"))
    assert [str(route) for route in table["node"]] == ["default dev eth0"]
    assert table["client"] == ()


def test_names_of_interfaces_count_in_link_order_around_the_given_ones() -> None:
    loaded = topology.loads(
        "nodes: {a: {role: control-plane}}\nhosts: [h]\nswitches: [s1, s2, s3]\nlinks:\n"
        "- ends: [a, s1]\n- ends: ['a:eth0', s2]\n- ends: [a, s3]\n- ends: [h, s3]\n- ends: ['h:up', s1]\n"
    )
    assert [end.interface for end in loaded.attachments("a")] == ["eth1", "eth0", "eth2"]
    assert [end.interface for end in loaded.attachments("h")] == ["eth0", "up"]
    assert [end.interface for end in loaded.attachments("s3")] == ["s3-eth1", "s3-eth2"]


def test_without_links_everything_is_on_one_switch() -> None:
    loaded = topology.loads("cluster: {podCIDR: 10.244.0.0/15}\nnodes: {cp: {role: control-plane}, w1..300: }\n")
    assert [switch.name for switch in loaded.switches] == ["s1"]
    assert loaded.segments[0].subnet == "192.168.0.0/23"
    assert loaded.node_ip("cp") == "192.168.0.2"
    assert len({end.address for end in loaded.segments[0].attachments}) == 301


def test_a_link_says_what_it_does_to_packets() -> None:
    loaded = topology.loads(
        "nodes: {a: {role: control-plane}, b: }\nlinks:\n"
        "- {ends: [a, b], bandwidth: 1.5Gbit, delay: 2.5ms, jitter: 100us, loss: 0.5%, mtu: 9000}\n"
    )
    link = loaded.links[0]
    assert (link.bandwidth_bps, link.delay_s, link.jitter_s, link.loss, link.mtu) == (
        1_500_000_000,
        0.0025,
        0.0001,
        0.005,
        9000,
    )
    assert link.needs_netem
    assert loaded.segments[0].subnet == "192.168.0.0/30"
    assert topology.loads(topology.dump(loaded), "topology.yaml") == loaded


def test_defaults_reach_all_that_say_nothing_else() -> None:
    loaded = topology.loads(
        "defaults: {node: {capacity: {cpu: 2}}, link: {mtu: 1400}}\n"
        "nodes: {a: {role: control-plane}, b: {capacity: {cpu: 500m, pods: 20}}}\nlinks:\n- ends: [a, b]\n"
    )
    assert loaded.node("a").capacity.cpu == "2"
    assert (loaded.node("b").capacity.cpu, loaded.node("b").capacity.pods) == ("500m", 20)
    assert loaded.links[0].mtu == 1400


def test_a_default_capacity_shrinks_to_the_addresses_there_are() -> None:
    loaded = topology.loads("cluster: {nodePrefix: 26}\nnodes: {a: {role: control-plane}}\n")
    assert loaded.node("a").capacity.pods == 61


def test_yaml_anchors_and_merge_keys_work() -> None:
    loaded = topology.loads(
        "nodes:\n  a: &big {role: control-plane, capacity: {cpu: 8}}\n  b: {<<: *big, role: worker}\n"
    )
    assert [(node.role, node.capacity.cpu) for node in loaded.nodes] == [("control-plane", "8"), ("worker", "8")]


def test_loops_of_switches_leave_links_on_standby() -> None:
    loaded = topology.loads(
        "nodes: {a: {role: control-plane}}\nswitches: [s1, s2, s3]\nlinks:\n"
        "- ends: [a, s1]\n- ends: [s1, s2]\n- ends: [s2, s3]\n- ends: [s3, s1]\n"
    )
    assert [link.standby for link in loaded.links] == [False, False, False, True]
    assert neighbours(loaded)["s1"] == ("a", "s2", "s3")


def test_a_thousand_nodes_load_fast_enough_to_be_tried_and_have_unique_addresses() -> None:
    loaded = topology.loads("cluster: {podCIDR: 10.128.0.0/9}\nnodes: {cp: {role: control-plane}, n1..1000: }\n")
    assert len({loaded.node_ip(end.node) for end in loaded.segments[0].attachments}) == 1001
    assert len(routes(loaded)) == 1001


def test_a_name_is_looked_for_here_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert topology.find("course").name == "course.yaml"
    for said in ("fattree", "fattree,k=2", "fattree.py", "fattree.py:fattree,k=2"):
        assert topology.find(said).name == "fattree.py"
    assert len(topology.load("fattree.py:fattree,k=2").nodes) == 2
    with pytest.raises(topology.TopologyError, match=r"no topology 'fatree' in it.*did you mean 'fattree'"):
        topology.load("fattree.py:fatree,k=2")
    Path("course.yaml").write_text("nodes: {only: {role: control-plane}}\n")
    assert [node.name for node in topology.load("course").nodes] == ["only"]


def test_the_example_of_the_reference_loads() -> None:
    text = (Path(__file__).parents[2] / "topologies" / "README.md").read_text()
    example = text.partition("```yaml\n")[2].partition("```")[0]
    loaded = topology.loads(example, "README.md")
    assert [node.name for node in loaded.nodes] == ["master", "node1", "node2", "node3"]
    assert topology.loads(topology.dump(loaded)) == loaded
