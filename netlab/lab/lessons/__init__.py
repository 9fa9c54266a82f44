"""Guided labs: directories that hold a README, manifests and a check, and what reads and judges them.

A lesson is a directory `NN-name` with `README.md` and `README.zh.md` (the guide, in English and in Chinese),
`lesson.yaml` (title, topology, manifests), `manifests/`, `check.py` (what must be done, as `step`s) and `solution.sh`
(the commands that do it). `find` and `available` read them, `report` judges a running lab.

May use `netlab.lab`'s façade; starts nothing by itself at import.
"""

from __future__ import annotations

from netlab.lab.lessons.model import Lesson, NotHere, NotYet, Step, Text, missing, step
from netlab.lab.lessons.places import available, find

__all__ = ["Lesson", "NotHere", "NotYet", "Step", "Text", "available", "find", "missing", "step"]
