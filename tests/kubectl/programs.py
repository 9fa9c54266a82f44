"""Every real kubectl on this machine: on PATH, beside what PATH's link leads to, and the one scripts/test unpacked."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_NAME = re.compile(r"kubectl([.-]?v?[0-9.]+)?\Z")


@cache
def kubectls() -> dict[str, str]:
    """Minor version ("1.27") → program, oldest first."""
    directories = [Path(entry) for entry in os.environ["PATH"].split(":")]
    found = shutil.which("kubectl")
    if found:
        directories.append(Path(found).resolve().parent)
    directories.append(REPOSITORY / ".cache" / "kubectl-debian" / "usr" / "bin")
    found_programs = [
        p for where in directories if where.is_dir() for p in sorted(where.iterdir()) if _NAME.match(p.name)
    ]
    programs: dict[str, str] = {}
    # numbered ones first: a plain kubectl may be one that calls another by the server's version
    for program in sorted(found_programs, key=lambda path: path.name == "kubectl"):
        if os.access(program, os.X_OK):
            programs.setdefault(_version(program), str(program))
    programs.pop("", None)
    return dict(sorted(programs.items(), key=lambda item: [int(part) for part in item[0].split(".")]))


def _version(program: Path) -> str:
    result = subprocess.run(
        [program, "version", "--client", "-o", "json"], capture_output=True, text=True, timeout=30, check=False
    )
    try:
        version = json.loads(result.stdout)["clientVersion"]
        return f"{version['major']}.{re.sub('[^0-9]', '', version['minor'])}"
    except (ValueError, KeyError):
        return ""
