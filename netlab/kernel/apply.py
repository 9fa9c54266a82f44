"""Does what a plan says, in one namespace, in as few system calls as there are kinds of things."""

from __future__ import annotations

from netlab.dataplane.model import Plan
from netlab.kernel.netns import NetNs


def apply(ns: NetNs, plan: Plan) -> None:
    """Do every step of `plan`. What is already so is no error (EEXIST on add, ESRCH and the like on delete).

    Raises KernelError, which names the first step that the kernel refused, after all steps were tried.
    """
    raise NotImplementedError
