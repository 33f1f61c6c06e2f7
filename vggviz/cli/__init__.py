"""The command line, one file a command. The only place that prints."""

from __future__ import annotations

import typer

from vggviz.cli.bench import bench
from vggviz.cli.choices import Command
from vggviz.cli.compare import compare
from vggviz.cli.console import lenient_output, print_error
from vggviz.cli.convert import convert
from vggviz.cli.data import data
from vggviz.cli.evaluate import evaluate
from vggviz.cli.explain import explain
from vggviz.cli.export import export
from vggviz.cli.find import find
from vggviz.cli.models import models
from vggviz.cli.push import push
from vggviz.cli.serve import serve
from vggviz.cli.train import train

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="See what attention does inside an image network: learned attention beside Grad-CAM.",
)
commands = (
    explain,
    find,
    export,
    convert,
    models,
    data,
    train,
    evaluate,
    compare,
    push,
    bench,
    serve,
)
for command in commands:
    app.command(cls=Command)(command)


def main() -> None:
    """The console script. Raises SystemExit: 1 where standard output could not be written."""
    with lenient_output() as output_error:
        code: str | int | None = 0
        try:
            app()
        except SystemExit as done:
            code = done.code
        error = output_error()
        if error is not None:
            if not isinstance(error, BrokenPipeError):  # whoever reads has read enough
                print_error(f"vggviz: standard output can't be written: {error.strerror}")
            code = code or 1
    raise SystemExit(code)
