"""`vggviz serve`: the web page, for one person, a classroom or a department."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Annotated

import typer

from vggviz.cli.console import fail, or_fail, print_error, print_line, print_lines
from vggviz.cli.network import NetworkOptions, takes_network
from vggviz.platform.malloc import limit_malloc


@takes_network()
def serve(
    host: Annotated[
        str | None, typer.Option(help="The address to listen on; by default this machine only.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="The port; by default the first free one from 7860 up.")
    ] = None,
    classroom: Annotated[
        bool, typer.Option("--classroom", help="Open to the network, with a QR code and limits.")
    ] = False,
    password: Annotated[str | None, typer.Option(help="What everyone must type first.")] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Weights to offer first: a name that `vggviz models` lists, or a .safetensors "
            "file of any size (the page itself takes up to 24 MB)."
        ),
    ] = None,
    network: NetworkOptions = NetworkOptions(),
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or mps; auto, the default, takes what is there.")
    ] = None,
    attention: Annotated[
        str | None,
        typer.Option(
            help="Attention to offer beside the built-in types, with commas: FILE.py:NAME (the "
            "file is run), or what packages bring."
        ),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="local, or ray: networks as Ray Serve's replicas.")
    ] = None,
) -> None:
    """Serve the page. An option goes before its environment variable, such as VGGVIZ_PORT."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported
    limit_malloc()
    try:
        from vggviz.server import Settings, page, run
    except ModuleNotFoundError as error:
        fail(f"the page needs {error.name}: pip install 'vggviz[app]'")
    from vggviz.networks import is_network_name
    from vggviz.server.lan import lan_address, qr_code

    if password == "":  # as of a variable that is not set: better none than an open page
        fail("--password must not be empty")
    options = {
        **{"host": host, "port": port, "password": password},
        **{"preload": weights, "attention": attention, "device": device, "engine": engine},
    }
    name, facts = network.resolve(weights or "")
    named = {}
    if is_network_name(name):
        if engine == "ray":
            fail(f"replicas load weights by name or from a file, not --network {name}")
        named = {name: facts}
    elif network.network:
        options["preload"] = network.network
    settings = or_fail(Settings.from_environ, os.environ)
    chosen = {name: value for name, value in options.items() if value is not None}
    settings = or_fail(lambda: replace(settings, **chosen))  # type: ignore[arg-type]
    if classroom:
        settings = settings.for_classroom()

    def ready(port: int) -> None:
        if classroom:
            address = lan_address(settings.host, port)
            try:
                print_lines(qr_code(address))
            except ModuleNotFoundError:
                print_error("no QR code: pip install 'vggviz[serve]' draws one")
            print_line(f"Everyone in this network: {address}")

    demo = or_fail(page, settings, named)
    or_fail(run, demo, settings, ready)
