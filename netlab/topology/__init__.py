"""Topology files to frozen data: what a lab's underlay and cluster look like. PURE.

It may read a file that it is told to read, and nothing else: no socket, process or kernel, and no Mininet. A Mininet
custom-topology file is Python: loading it runs that file, which imports Mininet by itself.
"""

from __future__ import annotations

from pathlib import Path

from netlab.topology.errors import TopologyError
from netlab.topology.model import (
    Attachment,
    Capacity,
    Cluster,
    Host,
    Link,
    Node,
    Router,
    Segment,
    StaticRoute,
    Switch,
    Taint,
    Topology,
)

__all__ = [
    "Attachment",
    "Capacity",
    "Cluster",
    "Host",
    "Link",
    "Node",
    "Router",
    "Segment",
    "StaticRoute",
    "Switch",
    "Taint",
    "Topology",
    "TopologyError",
    "dump",
    "find",
    "load",
]


def load(path_or_name: str | Path) -> Topology:
    """Reads a topology: a path, or a name as `find` takes it. TopologyError says what is wrong with it and where.

    A Python file is a Mininet custom topology: "fattree.py", "fattree.py:fattree" (which of its `topos`) and
    "fattree.py:fattree,k=4" (parameters as in `mn --topo`) are all accepted.
    """
    raise NotImplementedError


def find(name: str) -> Path:
    """The file for a name: a path as it is, else `<name>.yaml|.yml|.py` in `.`, `./topologies` and the shipped data."""
    raise NotImplementedError


def dump(topology: Topology) -> str:
    """The topology as YAML that loads back to an equal one: every default and address written out."""
    raise NotImplementedError
