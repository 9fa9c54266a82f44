"""Starting a lesson, and starting it over."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from netlab.lab.finding import running_labs
from netlab.lab.lessons.judge import remember_seed
from netlab.lab.lessons.model import Lesson
from netlab.lab.lifecycle import down

if TYPE_CHECKING:
    from netlab.lab.facade import Lab

_SETTLES = 120
"""Seconds that the manifests of a lesson may take until what they wait for holds."""


def start(lesson: Lesson, seed: int | None = None) -> Lab:
    """The lesson's lab as its learner should find it: manifests applied and settled, and broken where it must be.

    A lab of that lesson that runs is taken as it is. Raises LabError.
    """
    from netlab.lab.facade import Lab

    if lesson.lab_name in running_labs():
        return Lab.attach(lesson.lab_name)
    down(lesson.lab_name, purge=True)
    lab = Lab.up(lesson.topology, name=lesson.lab_name)
    try:
        lab.kubectl("create", "configmap", "answers")
        for manifest in lesson.manifests:
            lab.kubectl("apply", "-f", str(manifest))
        for resource, condition in lesson.waits.items():
            lab.kubectl("wait", resource, f"--for={condition}", f"--timeout={_SETTLES}s", timeout=_SETTLES + 10)
        if lesson.prepare is not None:
            seed = random.SystemRandom().randrange(1 << 16) if seed is None else seed
            remember_seed(lab, seed)
            lesson.prepare(lab, seed)
    except BaseException:
        lab.down(purge=True)
        raise
    return lab


def reset(lesson: Lesson, seed: int | None = None) -> Lab:
    """The lesson from its beginning, with the same faults as before unless `seed` says otherwise."""
    from netlab.lab.facade import Lab
    from netlab.lab.lessons.judge import remembered_seed

    if lesson.lab_name in running_labs():
        seed = remembered_seed(Lab.attach(lesson.lab_name)) if seed is None else seed
    down(lesson.lab_name, purge=True)
    return start(lesson, seed)
