"""The command line: one file a command, all heavy imports inside the commands.

A user's mistake (an `InputError`), a full disk or an interruption ends in one sentence on standard error, never in a traceback. Exit
codes: 0 done, 2 wrong input or environment, 130 interrupted.
"""

from __future__ import annotations

import errno
import sys

import typer

from . import convert, evaluate, export, generate, info, show, train, upscale, zoo
from .annotations import app as annotation_commands
from .synthesize import app as synthesize_commands

app = typer.Typer(
    name="earthgen",
    help="Generative models for remote sensing.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command("upscale")(upscale.upscale)
app.command("generate")(generate.generate)
app.command("info")(info.info)
app.command("train", context_settings={"ignore_unknown_options": True})(train.train)
app.command("export")(export.export)
app.command("evaluate")(evaluate.evaluate)
app.command("convert")(convert.convert)
app.command("zoo")(zoo.zoo)
app.add_typer(annotation_commands, name="annotations")
app.add_typer(synthesize_commands, name="synthesize")
app.command("demo")(show.demo)
app.command("app")(show.app)


def _version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        typer.echo(f"earthgen {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and stop.", callback=_version, is_eager=True),
) -> None:
    """Generative models for remote sensing."""


def main() -> None:
    """Run the command line and turn what went wrong into one sentence and an exit code."""
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        _stop("interrupted; nothing half-written was left under the output's name", 130)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _stop(f"the disk is full ({error.filename or 'while writing'}); free some space or choose another output folder", 2)
        if error.errno in (errno.EACCES, errno.EROFS, errno.ENOENT, errno.EISDIR, errno.ENOTDIR):
            _stop(f"{error.strerror}: {error.filename}; give a path that exists and may be read or written", 2)
        raise
    except ValueError as error:
        from ..gen.errors import InputError

        if not isinstance(error, InputError):
            raise
        _stop(str(error), 2)


def _stop(sentence: str, code: int) -> None:
    typer.echo(f"earthgen: {' '.join(sentence.split())}", err=True)
    sys.exit(code)
