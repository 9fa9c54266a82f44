"""What can go wrong between netlab and the kernel, each with the words a person needs."""

from __future__ import annotations

import os


class KernelError(OSError):
    """The kernel refused a request. `errno` as the kernel gave it; `what` names the object or the command."""

    def __init__(self, errno: int, what: str, detail: str = "") -> None:
        self.what = what
        self.detail = detail
        super().__init__(errno, f"{what}: {os.strerror(errno)}" + (f" ({detail})" if detail else ""))

    def __str__(self) -> str:
        return str(self.strerror)


class UnsupportedFeature(RuntimeError):  # noqa: N818 — named in the public contract
    """This kernel or machine lacks a feature that was asked for. Names the feature, who needs it and the remedy."""

    def __init__(self, feature: str, needed_by: str, remedy: str) -> None:
        self.feature = feature
        self.needed_by = needed_by
        self.remedy = remedy
        super().__init__(f"{needed_by} needs {feature}, which this kernel does not have; {remedy}")


class CommandFailed(RuntimeError):  # noqa: N818
    """A helper program (iptables-restore, nft, ovs-vsctl) failed; `line` is the input line it blamed, or 0."""

    def __init__(self, argv: tuple[str, ...], status: int, stderr: str, line: int = 0, text: str = "") -> None:
        self.argv = argv
        self.status = status
        self.stderr = stderr.strip()
        self.line = line
        self.text = text
        at = f" at line {line}: {text!r}" if line else ""
        super().__init__(f"{argv[0]} exited with {status}{at}: {self.stderr}")
