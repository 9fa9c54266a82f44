"""A node's state or plan as text for people: the commands, with reasons, under one heading per node."""

from __future__ import annotations

from collections.abc import Mapping

from netlab.dataplane.model import Plan


def plan_text(plan: Plan, *, reasons: bool = True) -> str:
    """One command per line, the step's reason behind its first line. Empty plan: empty text."""
    lines: list[str] = []
    for step in plan.steps:
        commands = step.commands()
        lines += [f"{command}  # {step.reason}" if reasons and not i else command for i, command in enumerate(commands)]
    return "\n".join(lines)


def dry_run(plans: Mapping[str, Plan]) -> str:
    """All nodes' plans, each under `# <node>`; nodes with nothing to do are left out."""
    return "\n\n".join(f"# {name}\n{plan_text(plan)}" for name, plan in plans.items() if plan) + "\n"
