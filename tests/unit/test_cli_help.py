"""Every verb explains itself, with an example; a wrong call is told what to do instead."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from netlab.cli import interruption_behind, klab


def commands(group: click.Group = klab, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize(
    ("path", "command"), list(commands()), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_help_with_an_example(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help
    assert command.epilog is not None
    assert command.epilog.startswith("\b\nExample:\n  "), "one a line"
    assert "klab" in command.epilog
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{' '.join(path)}: option {parameter.opts} has no help"


def test_the_whole_help_lists_every_verb() -> None:
    result = CliRunner().invoke(klab, ["--help"])
    assert result.exit_code == 0
    for path, _ in commands():
        if len(path) == 1:
            assert path[0] in result.output


def test_a_misspelt_verb_gets_a_suggestion() -> None:
    result = CliRunner().invoke(klab, ["statsu"])
    assert result.exit_code == 2
    assert "did you mean 'status'" in result.output


def test_a_signal_inside_an_import_is_found_again() -> None:
    """CPython 3.11 wraps what is raised in `__set_name__`; the exit status must be the signal's."""
    swallowed = RuntimeError("Error calling __set_name__ on 'Field' instance")
    swallowed.__cause__ = SystemExit(129)
    assert interruption_behind(swallowed) is swallowed.__cause__
    assert interruption_behind(ValueError("of our own")) is None
