"""`python -m netlab.trace.reach FILE`: a run described as JSON in a file, its matrix as JSON on standard output.

Runs inside the lab. {"proto", "sources": [Source…], "targets": [Target…], "work": [[target index…]…] or null for all,
"nodes": [namespace…]}
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from netlab.trace.reach.matrix import Proto, Source, Target


def request(
    proto: Proto, sources: Sequence[Source], targets: Sequence[Target], work: Sequence[Sequence[int]],
    nodes: Sequence[str],
) -> str:  # fmt: skip
    """What `main` reads."""
    described: dict[str, Any] = {
        "proto": proto,
        "sources": [asdict(source) for source in sources],
        "targets": [asdict(target) for target in targets],
        "work": [list(row) for row in work],
        "nodes": list(nodes),
    }
    return json.dumps(described)


def main(text: str) -> str:
    """Run it."""
    from netlab.trace.reach.sockets import probe

    wanted = json.loads(text)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sources = [Source(**{**one, "ips": tuple(one["ips"])}) for one in wanted["sources"]]
    targets = [Target(**one) for one in wanted["targets"]]
    found = probe(wanted["proto"], sources, targets, wanted["work"], wanted["nodes"])
    return json.dumps(found.to_obj())


if __name__ == "__main__":
    sys.stdout.write(main(Path(sys.argv[1]).read_text()))
