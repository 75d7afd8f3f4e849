"""The program ``streamgauge``: one table of commands, each imported when it is called.

streamgauge decode trace.pcap
"""

from __future__ import annotations

import functools
import gc
import importlib
import inspect
import os
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import typer

from streamgauge import __version__
from streamgauge.cli import output
from streamgauge.errors import BusError, StoreAwayError, StreamgaugeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Command(NamedTuple):
    """One command: the function that runs it, and its line in the list of commands."""

    name: str
    #: ``module:function``; the module imports what is heavy inside the function.
    where: str
    summary: str

    def load(self) -> Callable[..., Any]:
        """Import the function; when whoever reads its output (`| head`) has seen enough, it ends quietly."""
        module, _, name = self.where.partition(":")
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)

        @functools.wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            try:
                return function(*arguments, **options)
            except BrokenPipeError as error:
                output.discard()
                raise typer.Exit from error

        return run


COMMANDS: Final = (
    Command("demo", "streamgauge.cli.demo:demo", "The whole system on this machine, on real packets."),
    Command("decode", "streamgauge.cli.decode:decode", "Capture files to table, ndjson, csv or parquet."),
    Command("tail", "streamgauge.cli.tail:tail", "Live summaries from NATS, one line each."),
    Command("query", "streamgauge.cli.query:query", "SQL over what was stored, and ready questions."),
    Command("audit", "streamgauge.cli.audit:audit", "Prove that what was published is stored."),
    Command("restore", "streamgauge.cli.restore:restore", "A window back out, or replayed into NATS."),
    Command("export", "streamgauge.cli.export:export", "Flows to a collector of another maker, as IPFIX."),
    Command("drill", "streamgauge.cli.drill:drill", "Restore a random window and compare it."),
    Command("doctor", "streamgauge.cli.doctor:doctor", "Name the first broken hop and what mends it."),
    Command("config", "streamgauge.cli.config:config", "The effective configuration, or all settings."),
    Command("bootstrap", "streamgauge.cli.bootstrap:bootstrap", "Create the stream and the bucket."),
)

#: Objects after which Python looks for garbage in cycles.
_COLLECT_AFTER: Final = 300_000

_DESCRIPTION: Final = """Network-traffic monitoring for Kubernetes that accounts for every packet.

Each command explains itself with an example: streamgauge COMMAND --help
"""

#: The base of all errors of usage; typer does not export it.
_UsageError: Final[type[Exception]] = typer.BadParameter.__mro__[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; whatever goes wrong is one line on standard error."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    # Imports make many objects and no garbage; looking for it takes a sixth of the start (0.88 → 0.73 s of CPU).
    gc.set_threshold(_COLLECT_AFTER)
    try:
        status = _application(arguments)(args=arguments, prog_name="streamgauge", standalone_mode=False)
        output.flush()
    except StreamgaugeError as error:
        return _complain(_with_hint(error), error.exit_code)
    except _UsageError as error:
        return _complain(_usage(error), 2)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except OSError as error:
        return _complain(": ".join(str(part) for part in (error.filename, error.strerror or error) if part), 1)
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        return _complain(f"internal error, please report it: {_where(error)}: {error!r}", 1)
    return status if isinstance(status, int) else 0


def _application(arguments: Sequence[str]) -> typer.Typer:
    """Return the application; only the command that is called is imported, of the others the list needs the summary."""
    application = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=False)
    application.callback(invoke_without_command=True, help=_DESCRIPTION)(_program)
    called = next((argument for argument in arguments if not argument.startswith("-")), None)
    completing = "_STREAMGAUGE_COMPLETE" in os.environ
    for command in COMMANDS:
        if completing or command.name == called:
            function = command.load()
            application.command(command.name, short_help=command.summary, help=_help(function))(function)
        else:
            application.command(command.name, help=command.summary)(_not_called)
    return application


def _program(
    context: typer.Context, *, version: bool = typer.Option(False, "--version", help="Show the version and leave.")
) -> None:
    if version:
        print(f"streamgauge {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


def _help(function: Callable[..., Any]) -> str:
    """Return the docstring of a command, marked so that the lines of its examples are not joined."""
    return (inspect.getdoc(function) or "").replace("\n\nExample", "\n\n\b\nExample")


def _not_called() -> None:
    """Stand in the list of commands for one that is not imported."""


def _with_hint(error: StreamgaugeError) -> str:
    """Return what is wrong; where no system is found and a demo runs, how to ask that."""
    if not isinstance(error, BusError | StoreAwayError) and "is not set" not in str(error):
        return str(error)
    from streamgauge.demo import beside

    return f"{error}\n{beside.hint()}".rstrip()


def _usage(error: Exception) -> str:
    message: str = error.format_message().replace("Value error, ", "")  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "streamgauge"
    return f"{message.rstrip('.')}; see `{command} --help`"


def _complain(message: str, status: int) -> int:
    output.flush()
    for line in message.splitlines():
        print(f"streamgauge: {line}", file=sys.stderr)
    return status


def _where(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}" if trace is not None else "?"


if __name__ == "__main__":
    sys.exit(main())
