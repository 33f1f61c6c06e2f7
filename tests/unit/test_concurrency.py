"""One model serves many threads at once: nobody ever sees another's picture."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vggviz.cam import CAMs, cams
from vggviz.hooks.capture import capture
from vggviz.networks import Network

Untouched = Callable[[nn.Module], AbstractContextManager[None]]
Build = Callable[..., Network]
Draw = Callable[..., Tensor]


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """`work(0)` … `work(count − 1)`, all at once; the first exception is raised here."""
    start = threading.Barrier(count)

    def run(index: int) -> None:
        start.wait()
        work(index)

    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(run, index) for index in range(count)]:
            future.result()


def test_captures_of_many_threads_never_mix(
    small_vgg: Build, pictures: Draw, untouched: Untouched
) -> None:
    model, x = small_vgg(attention="cbam", stages=("block4", "block5")).eval(), pictures(8, 32)
    layers = ["features.25", "attention.block5", "features.36"]
    methods = ("gradcam", "layercam", "eigencam", "attention*gradient")

    def explain(index: int) -> CAMs:
        # Each thread wants other layers, so that graphs begin at different places.
        return cams(model, x[index : index + 1], [*layers[index % 2 :]], methods)

    def same(a: CAMs, b: CAMs) -> bool:
        return (
            torch.allclose(a.logits, b.logits, rtol=1e-5, atol=1e-6)
            and a.maps.keys() == b.maps.keys()
            and all(torch.allclose(a.maps[k], b.maps[k], rtol=1e-4, atol=1e-6) for k in a.maps)
            and a.taps.keys() == b.taps.keys()
            and all(torch.allclose(a.taps[k].weights, b.taps[k].weights) for k in a.taps)
        )

    alone = [explain(index) for index in range(8)]
    assert sum(same(a, b) for a in alone for b in alone) == 8  # mixing would show
    found: list[CAMs] = [alone[0]] * 8

    def work(index: int) -> None:
        for _ in range(3):
            found[index] = explain(index)
            assert same(found[index], alone[index])

    with untouched(model):
        in_threads(8, work)
    assert all(found[index] is not alone[0] for index in range(8))


def test_no_hook_is_lost_where_threads_switch_at_the_worst_moment(
    small_vgg: Build, untouched: Untouched
) -> None:
    """PyTorch draws a hook's number in two steps; here every thread pauses between them."""
    model = small_vgg(attention="cbam", stages=("block5",)).eval()
    x = torch.randn(4, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def pause(frame: FrameType, event: str, argument: object) -> Any:
        def line(*_: object) -> Any:
            time.sleep(1e-4)
            return line

        return line if frame.f_code is RemovableHandle.__init__.__code__ else None

    def work(index: int) -> None:
        for _ in range(4):
            with capture(model, ["features.0"]) as trace, torch.no_grad():
                model(x[index])
            assert torch.equal(trace.outputs["features.0"], model.features[0](x[index]))
            assert len(trace.taps) == 2

    before = threading.gettrace()
    threading.settrace(pause)
    try:
        with untouched(model):
            in_threads(4, work)
    finally:
        threading.settrace(before)  # type: ignore[arg-type]
