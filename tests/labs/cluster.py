"""A running lab in a test's hands: its API by kubectl, its machines and pods by what scripts print there."""

from __future__ import annotations

import json
from typing import Any

from tests.labs.tools import User


class Cluster:
    """The lab `lab` of `user`. A test file adds what it asks of its own."""

    def __init__(self, user: User, lab: str) -> None:
        self.user, self.lab = user, lab

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """What kubectl prints; it must succeed."""
        if stdin:
            result = self.user.klab("--lab", self.lab, "kubectl", *arguments, stdin=stdin)
        else:
            result = self.user.kubectl(*arguments, lab=self.lab)
        assert result.returncode == 0, f"{' '.join(arguments)}: {result.stderr}{result.stdout}"
        return result.stdout

    def get(self, *what: str) -> Any:
        return json.loads(self.kubectl("get", *what, "-o", "json"))

    def on(self, machine: str, script: str) -> str:
        """What a script prints on a node, host or router."""
        return self.user.klab("--lab", self.lab, "exec", machine, "--", "sh", "-c", script).stdout.strip()

    def within(self, pod: str, script: str) -> str:
        """What a script prints in a pod; it must succeed."""
        return self.kubectl("exec", pod, "--", "sh", "-c", script).strip()
