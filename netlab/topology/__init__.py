"""Topology files to frozen data: what a lab's underlay and cluster look like. PURE.

It may read a file that it is told to read, and nothing else: no socket, process or kernel, and no Mininet. A Mininet
custom-topology file is Python: loading it runs that file, which imports Mininet by itself.

`load` takes a path or a name: "course", "my/lab.yaml", "fattree.py", "fattree.py:fattree,k=4" (which of the file's
`topos`, with parameters as in `mn --topo`), "fattree,k=4". `find` gives the file: a path as it is, else `NAME.yaml`,
`.yml` or `.py` in the current directory, `./topologies`, and the shipped ones. `dump` writes YAML that loads back to an
equal topology. `routing.routes` computes what the substrate applies.
"""

from __future__ import annotations

from netlab.topology.dump import dump
from netlab.topology.errors import TopologyError
from netlab.topology.files import available, find, load, loads
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
    "available",
    "dump",
    "find",
    "load",
    "loads",
]
