"""`klab completion`: verbs and options at the tab key."""

from __future__ import annotations

import click


@click.command("completion", epilog='Example: eval "$(klab completion bash)"     klab completion fish | source')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Shell lines that complete klab's verbs and options; put the example's line into the shell's start file."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 — one of click's own
    click.echo(kind(ctx.find_root().command, {}, "klab", "_KLAB_COMPLETE").source())
