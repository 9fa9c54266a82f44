"""Where topologies are found, and which reader reads which."""

from __future__ import annotations

from pathlib import Path

from netlab.topology.document import did_you_mean
from netlab.topology.errors import TopologyError
from netlab.topology.model import Topology

_SUFFIXES = (".yaml", ".yml", ".py")
_MAX_BYTES = 16 << 20


def shipped() -> tuple[Path, ...]:
    """The directories of the topologies that come with netlab: of the installed package, or of the source tree."""
    package = Path(__file__).resolve().parents[1]
    places = (package / "_data" / "topologies", package.parent / "topologies")
    return tuple(place for place in places if place.is_dir())


def available() -> dict[str, Path]:
    """The shipped topologies by name."""
    return {
        path.stem: path
        for place in reversed(shipped())
        for path in sorted(place.iterdir())
        if path.suffix in _SUFFIXES and not path.name.startswith("_")
    }


def find(name: str) -> Path:
    """The file for all that `load` takes; TopologyError lists what there is."""
    return _split(name)[0]


def _file(name: str) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix not in _SUFFIXES and path.parent == Path():
        for place in (Path(), Path("topologies"), *shipped()):
            for suffix in _SUFFIXES:
                candidate = place / f"{name}{suffix}"
                if candidate.is_file():
                    return candidate
    if path.is_dir():
        raise TopologyError(f"{name} is a directory, expected a topology file", file=name)
    known = available()
    if (found := known.get(path.stem)) is not None and found.name == name:
        return found
    if path.suffix in _SUFFIXES or path.parent != Path():
        raise TopologyError("no such file", file=name)
    raise TopologyError(f"no topology {name!r}", suggestion=did_you_mean(name, known))


def load(path_or_name: str | Path) -> Topology:
    """Reads and resolves a topology; see the package."""
    from netlab.topology.resolve import resolve

    path, selector = _split(path_or_name)
    if path.suffix == ".py":
        from netlab.topology import mininet_file

        return resolve(mininet_file.read(path, selector))
    if selector:
        raise TopologyError(f"parameters ({selector}) are for Mininet topology files", file=str(path))
    return loads(_text(path), str(path))


def loads(text: str, file: str = "topology.yaml") -> Topology:
    """Resolves a YAML text; `file` is for messages and the default name."""
    from netlab.topology import schema
    from netlab.topology.resolve import resolve

    return resolve(schema.read(text, file))


def _split(path_or_name: str | Path) -> tuple[Path, str]:
    """ "file.py:name,k=4" and "name,k=4" to the file and what selects and parametrises a topology in it."""
    text = str(path_or_name)
    if Path(text).is_file():
        return Path(text), ""
    head, colon, selector = text.partition(".py:")
    if colon:
        return _file(f"{head}.py"), selector
    head, comma, rest = text.partition(",")
    return _file(head), f"{Path(head).stem},{rest}" if comma else ""


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise TopologyError(f"larger than {_MAX_BYTES >> 20} MiB", file=str(path))
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TopologyError(f"not UTF-8 text: {error.reason} at byte {error.start}", file=str(path)) from None
    except OSError as error:
        raise TopologyError(f"cannot be read: {error.strerror}", file=str(path)) from None
