"""``completion``: what makes a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from deploy.cli.output import example

_PROGRAM = "signal-broker"
_VARIABLE = "_SIGNAL_BROKER_COMPLETE"


@click.command(
    epilog=example(
        """signal-broker completion bash >> ~/.bashrc""",
        """signal-broker completion zsh >> ~/.zshrc""",
        """signal-broker completion fish > ~/.config/fish/completions/signal-broker.fish""",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, *, shell: str) -> None:
    """Print a script for SHELL, to be run when it starts: Tab completes commands and options then."""
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101  (click has these three)
    click.echo(found(ctx.find_root().command, {}, _PROGRAM, _VARIABLE).source())
