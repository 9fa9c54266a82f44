"""Ways into a lab: kubeconfig, kubectl, env, exec, shell, mininet."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence

import click

from netlab.cli.common import output_option, print_json, record_of, this_lab
from netlab.lab import inside
from netlab.lab.record import LabError

_PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command("kubeconfig", epilog="Example: klab kubeconfig > ~/.kube/netlab     klab kubeconfig --path")
@click.option("--path", "only_path", is_flag=True, help="Where the file is, instead of what is in it.")
@click.option("--as", "user", metavar="USER", help="With a new certificate of this user, as system:kube-scheduler.")
@click.option("--as-group", "groups", metavar="GROUP", multiple=True, help="A group of that user; may be repeated.")
@click.option("--inside", is_flag=True, help="For programs on the lab's own machines (klab exec, klab shell).")
@click.pass_context
def kubeconfig_command(
    ctx: click.Context, only_path: bool, user: str | None, groups: tuple[str, ...], inside: bool
) -> None:
    """The administrator's kubeconfig of a lab, or one for another user.

    Any name will do with --as: a cluster has no list of users, and its RoleBindings say what each may do.
    """
    paths = this_lab(ctx)
    if only_path and (user is not None or groups or inside):
        raise click.UsageError("--path goes with no other option", ctx)
    if groups and user is None:
        raise click.UsageError("--as-group needs --as", ctx)
    if user is not None and not 0 < len(user) <= 64:
        raise click.UsageError("--as: a user's name has 1 to 64 characters", ctx)
    if not inside and user is None:
        click.echo(str(paths.kubeconfig) if only_path else paths.kubeconfig.read_text(), nl=only_path)
        return
    from netlab.lab.credentials import inside_url, kubeconfig_for

    outside = record_of(paths).api_url
    url = inside_url(paths) if inside else outside
    text = kubeconfig_for(paths, url, user, groups) if user else paths.kubeconfig.read_text().replace(outside, url)
    click.echo(text, nl=False)


@click.command("env", epilog='Example: eval "$(klab env)" && kubectl get nodes')
@output_option
@click.pass_context
def env_command(ctx: click.Context, output: str) -> None:
    """Shell lines that point kubectl (and netlab's own commands) at a lab."""
    paths = this_lab(ctx)
    variables = {"KUBECONFIG": str(paths.kubeconfig), "KLAB_LAB": paths.name}
    if output == "json":
        print_json({**variables, "api": record_of(paths).api_url})
        return
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")


@click.command(
    "kubectl", context_settings=_PASS_ON, epilog="Example: klab kubectl get pods -A -o wide", add_help_option=False
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def kubectl_command(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """The user's own kubectl, pointed at a lab; `klab kubectl --help` and `completion` are kubectl's own."""
    program = shutil.which("kubectl")
    if program is None:
        raise LabError("there is no kubectl on PATH; Debian's is in the package kubernetes-client", 127)
    environment = dict(os.environ)
    try:
        environment["KUBECONFIG"] = str(this_lab(ctx).kubeconfig)
    except LabError:
        if not _speaks_to_nobody(arguments):
            raise
    sys.stdout.flush()
    os.execve(program, ["kubectl", *arguments], environment)


def _speaks_to_nobody(arguments: Sequence[str]) -> bool:
    """Whether kubectl needs no cluster for it."""
    return not arguments or arguments[0] in ("help", "completion") or not {"-h", "--help"}.isdisjoint(arguments)


@click.command(
    "exec",
    context_settings=_PASS_ON,
    epilog="Example: klab exec node1 -- ip route     klab exec client -- ping -c1 192.168.77.3",
)
@click.argument("where")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def exec_command(ctx: click.Context, where: str, command: tuple[str, ...]) -> None:
    """Run a COMMAND in the network of a node, host or router of the topology."""
    paths = this_lab(ctx)
    arguments = command[1:] if command[0] == "--" else command
    if not arguments:
        raise click.UsageError("no command after --", ctx)
    ctx.exit(inside.run_in_machine(paths, where, arguments))


@click.command("shell", epilog="Example: klab shell node1     klab shell default/web-7d4b9c6f5-x2x8p")
@click.argument("where")
@click.pass_context
def shell_command(ctx: click.Context, where: str) -> None:
    """A shell on a node, host or router, or in a pod ([NAMESPACE/]NAME[:CONTAINER]).

    A machine goes before a pod of the same name; pod/NAME says which.
    """
    ctx.exit(inside.shell(this_lab(ctx), where))


@click.command(
    "mininet", epilog="Example: klab mininet     klab mininet -c pingall     klab mininet -c 'node1 ip -br addr'"
)
@click.option("-c", "--command", help="Run one Mininet command instead of opening the prompt.")
@click.pass_context
def mininet_command(ctx: click.Context, command: str | None) -> None:
    """Mininet's own prompt on the live network: nodes, pingall, node1 ip addr, exit. Leaving it changes nothing."""
    ctx.exit(inside.mininet(this_lab(ctx), command))
