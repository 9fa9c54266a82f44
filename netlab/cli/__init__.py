"""`klab`: one file per group of verbs, loaded only when its verb is used.

The commands hold no logic: they read arguments, call `netlab.lab`, and print. Errors that a user can cause or mend are
`click.ClickException`s with one sentence; exit status 0 is success, 1 a failure, 2 a wrong call.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click

_VERBS = {
    "up": "lifecycle",
    "down": "lifecycle",
    "ls": "inspect",
    "status": "inspect",
    "logs": "inspect",
    "version": "inspect",
    "doctor": "inspect",
    "kubeconfig": "access",
    "kubectl": "access",
    "env": "access",
    "exec": "access",
    "shell": "access",
    "mininet": "access",
    "capture": "capture",
    "trace": "trace",
    "why": "why",
    "check": "why",
    "ping": "ping",
    "fault": "fault",
    "proxy-mode": "services",
    "conntrack": "services",
    "explain": "services",
    "image": "image",
    "lab": "lessons",
    "completion": "completion",
}
"""Verb → module of this package; the command is the module's attribute `<verb>_command`."""


def examples_in_lines(command: click.Command) -> click.Command:
    """An epilog's examples, five spaces apart, one a line and never broken: they are to be copied."""
    if command.epilog is not None and "\b" not in command.epilog:
        examples = command.epilog.removeprefix("Example: ").split("     ")
        command.epilog = "\b\n" + "\n".join(("Example:", *(f"  {one.strip()}" for one in examples)))
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        examples_in_lines(inner)
    return command


class _Verbs(click.Group):
    """Loads a verb's module when the verb is asked for: `klab up` pays for nothing but itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _VERBS.get(cmd_name)
        if module is None:
            return None
        command = getattr(import_module(f"netlab.cli.{module}"), f"{cmd_name.replace('-', '_')}_command")
        assert isinstance(command, click.Command)  # noqa: S101
        return examples_in_lines(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], _VERBS, 1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(f"no verb '{args[0]}'{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Example: klab up course && klab kubectl get nodes && klab down",
)
@click.option("--lab", metavar="NAME", envvar="KLAB_LAB", help="Which lab, where several run (or $KLAB_LAB).")
@click.pass_context
def klab(ctx: click.Context, lab: str | None) -> None:
    """A Kubernetes cluster's whole network on this machine: real kernel, real kubectl, no root."""
    ctx.obj = lab


_EXPECTED = (
    ("netlab.topology.errors", "TopologyError", 2),
    ("netlab.sandbox.paths", "BadLabName", 2),
    ("netlab.lab.record", "LabError", 1),
    ("netlab.sandbox.spec", "SandboxError", 1),
    ("netlab.kernel.errors", "UnsupportedFeature", 1),
    ("netlab.runtime.images.model", "ImageNotFound", 1),
    ("netlab.runtime.images.model", "InvalidImageName", 1),
    ("netlab.runtime.images.model", "BadImage", 1),
)
"""Errors that a user can cause or mend: their text is the whole story. (module, class, exit status)"""


def expected_status(error: BaseException) -> int | None:
    """The exit status of an error that is explained by its own text; None for a fault of ours."""
    for module, name, status in _EXPECTED:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(error, kind):
            return int(getattr(error, "status", status))
    return 1 if isinstance(error, OSError) else None


def _words(error: BaseException) -> str:
    """Its text; of an error of the system without the number and the quotes that Python adds."""
    if type(error).__str__ is OSError.__str__ and isinstance(error, OSError) and error.strerror:
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part)
    return str(error)


def interruption_behind(error: BaseException) -> BaseException | None:
    """The SystemExit or KeyboardInterrupt of a signal that another exception has swallowed.

    A signal can arrive inside an import, and CPython 3.11 turns whatever is raised there while a class is being made
    into a RuntimeError ("Error calling __set_name__ …"), with what was raised as its cause.
    """
    found: BaseException | None = error
    while found is not None and not isinstance(found, SystemExit | KeyboardInterrupt):
        found = found.__cause__ or found.__context__
    return found


def main() -> None:
    """The console script. A broken pipe or Ctrl-C ends quietly with the status that a shell expects."""
    try:
        result = klab.main(standalone_mode=False, prog_name=os.path.basename(sys.argv[0]) or "klab")  # noqa: PTH119
        sys.exit(result if isinstance(result, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
    except Exception as error:
        interruption = interruption_behind(error)
        if interruption is not None:
            click.echo("interrupted", err=True)
            sys.exit(interruption.code if isinstance(interruption, SystemExit) else 130)
        status = expected_status(error)
        if status is not None:
            click.echo(f"Error: {_words(error)}", err=True)
            sys.exit(status)
        if os.environ.get("KLAB_DEBUG"):
            raise
        click.echo(
            f"Error: {type(error).__name__}: {error} — a fault of netlab itself; KLAB_DEBUG=1 shows where", err=True
        )
        sys.exit(70)
