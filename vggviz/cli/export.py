"""`vggviz export`: a network with its attention and CAMs as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from vggviz.cli.console import WEIGHTS_HELP, or_fail, print_line, split_list
from vggviz.cli.network import NetworkOptions, takes_network

ATTENTION_IN_HELP = (
    "A second file, in which attention is an input, too: numbers take the place of the network's "
    "own weights, NaN keeps them."
)


@takes_network("adapter")
def export(
    out: Annotated[Path, Option(help="The ONNX file.")],
    weights: Annotated[str, Option(help=WEIGHTS_HELP)] = "everyday",
    attention: Annotated[
        str | None, Option(help="none, or of: {attention}. A weights file brings its own name.")
    ] = None,
    network: NetworkOptions = NetworkOptions(),
    stages: Annotated[str, Option(help="all, or names: block4,block5,conv5_4.")] = "all",
    methods: Annotated[str, Option(help="CAM methods, of: {methods}.")] = "gradcam",
    uint8: Annotated[
        bool, Option("--uint8", help="Pixels are RGB from 0 to 255, normalised in the file.")
    ] = False,
    half: Annotated[bool, Option("--half", help="Store weights in float16.")] = False,
    attention_in: Annotated[Path | None, Option(help=ATTENTION_IN_HELP)] = None,
) -> None:
    """Write prediction, attention and CAMs of a network as one ONNX file, without PyTorch inside.

    Inputs: pixels (N, 3, S, S); target (N,), -1 for the predicted class. Outputs: logits,
    attention/STAGE/KIND, METHOD/STAGE.
    """
    from vggviz.explainer import Explainer

    name, options = network.resolve(weights)
    explainer = or_fail(Explainer.load, name, attention, **options)
    for file in (out, attention_in):
        if file is None:
            continue
        found = or_fail(
            explainer.export,
            *(file, stages, split_list(methods)),
            uint8=uint8,
            half=half,
            attention_in=file is attention_in,
        )
        line = f"{file}: {file.stat().st_size / 1e6:.1f} MB"
        if found:
            line += f", {len(found)} outputs, at most {max(found.values()):.0e} from PyTorch's"
        print_line(line)
