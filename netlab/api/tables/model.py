"""What a printer is: columns, and a function from an object to its cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from netlab.api.types import Obj


class Column:
    """One column definition; `wide` columns have priority 1."""

    __slots__ = ("definition",)

    def __init__(
        self, name: str, kind: str = "string", description: str = "", *, form: str = "", wide: bool = False
    ) -> None:
        self.definition: Obj = {
            "name": name,
            "type": kind,
            "format": form,
            "description": description,
            "priority": 1 if wide else 0,
        }


@dataclass(frozen=True, slots=True)
class Printer:
    """`cells(obj, now)` returns one JSON value per column; `conditions` marks rows of completed objects."""

    columns: tuple[Column, ...]
    cells: Callable[[Obj, float], list[Any]]
    conditions: Callable[[Obj], list[Obj] | None] | None = None


NAME = Column(
    "Name",
    form="name",
    description="Name must be unique within a namespace, and cannot change once the object exists.",
)
AGE = Column("Age", description="How long ago the object was created.")
CREATED_AT = Column("Created At", "date", "When the object was created (creationTimestamp).")
CONTAINERS = Column("Containers", description="Names of each container in the template.", wide=True)
IMAGES = Column("Images", description="Images referenced by each container in the template.", wide=True)
SELECTOR = Column("Selector", description="The label query over the pods that belong to it.", wide=True)


def string(name: str, description: str = "", *, wide: bool = False) -> Column:
    """A text column."""
    return Column(name, "string", description, wide=wide)


def integer(name: str, description: str = "", *, wide: bool = False) -> Column:
    """A number column."""
    return Column(name, "integer", description, wide=wide)


def boolean(name: str, description: str = "") -> Column:
    """A true or false column."""
    return Column(name, "boolean", description)
