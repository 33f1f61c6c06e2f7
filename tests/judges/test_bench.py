"""The benchmark: all cases do the same work, its arithmetic is right; never how long it took."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vggviz import benchmark as bench
from vggviz.benchmark import (
    CASES,
    MEASURES,
    Fixtures,
    Interval,
    MeasureValues,
    Report,
    Timing,
    measures,
)
from vggviz.networks import Network
from vggviz.platform.machine import Machine, machine

MACHINE = Machine("A CPU", cores=4, threads=2, torch="2.x", date="2026-01-01", load=0.5)
LIBRARIES = {
    "torchcam": "torchcam.methods",
    "captum": "captum.attr",
    "grad-cam": "pytorch_grad_cam",
    "grad-cam-frozen": "pytorch_grad_cam",
    "onnx": "onnxruntime",
}


OTHERS = [name for name in CASES if name.startswith(("torchcam", "captum", "grad-cam", "onnx"))]
HALF = [name for name in CASES if name.startswith("bf16")]


@pytest.fixture(scope="module")
def bed() -> Fixtures:
    return Fixtures(64, 0.125)


def report(
    machine: Machine = MACHINE, missing: tuple[str, ...] = (), **seconds: tuple[float, ...]
) -> Report:
    """A report of hand-made seconds, by case name with _ for -."""
    named = {name.replace("_", "-"): values for name, values in seconds.items()}
    timings = {name: Timing(name, values) for name, values in named.items()}
    return Report(machine, 224, 1.0, timings, missing)


def unit(cam: Tensor) -> Tensor:
    """Scaled to [0, 1], as the other libraries return their maps."""
    return (cam - cam.min()) / (cam.max() - cam.min())


def work(bed: Fixtures, name: str) -> list[Tensor]:
    return CASES[name].ready(bed)()


@pytest.fixture(scope="module")
def ours(bed: Fixtures) -> dict[str, list[Tensor]]:
    return {name: work(bed, name) for name in {CASES[other].like for other in OTHERS}}


@pytest.mark.parametrize("name", OTHERS)
def test_other_libraries_do_the_same_work(
    bed: Fixtures, ours: dict[str, list[Tensor]], name: str
) -> None:
    library = next(module for key, module in LIBRARIES.items() if name.startswith(key))
    pytest.importorskip(library)
    same_maps(bed, work(bed, name), ours[CASES[name].like], CASES[name].images)


def same_maps(bed: Fixtures, found: list[Tensor], expected: list[Tensor], images: int) -> None:
    assert len(expected) == len(found) > 0
    for cams, owns in zip(found, expected, strict=True):
        pairs = [(cams, owns)] if owns.ndim == 2 else list(zip(cams, owns, strict=True))
        for cam, own in pairs:
            if own.max() == own.min():  # a flat map would agree with anything
                assert len(pairs) > 1
                continue
            if cam.shape != own.shape:  # pytorch-grad-cam resizes its maps to the picture
                size = bed.image.shape[-2:]
                own = F.interpolate(unit(own)[None, None], size, mode="bilinear")[0, 0]
            assert torch.allclose(unit(cam), unit(own), atol=1e-4)


@pytest.mark.parametrize("name", HALF)
def test_bfloat16_does_the_same_work(bed: Fixtures, name: str) -> None:
    exact, found = work(bed, name.replace("bf16", "vggviz")), work(bed, name)
    assert len(found) == len(exact) == len(CASES[name].stages)
    for cam, own in zip(found, exact, strict=True):
        # Random weights hardly prefer a class, so that bfloat16 may explain another one.
        assert cam.shape == own.shape
        assert not torch.equal(cam, own)


@pytest.mark.parametrize("name", ["vggviz-1-b16", "vggviz-5-b16"])
def test_a_batch_gives_what_its_pictures_give(bed: Fixtures, name: str) -> None:
    assert torch.equal(bed.images(16)[:1], bed.image)
    one, many = work(bed, name.removesuffix("-b16")), work(bed, name)
    for cam, cams in zip(one, many, strict=True):
        assert cams.shape == (16, *cam.shape)
        torch.testing.assert_close(cams[0], cam, atol=1e-6, rtol=1e-3)
        assert not torch.equal(cams[1], cams[0])


def test_the_bare_passes_are_of_the_same_network(bed: Fixtures) -> None:
    (plain,), (last,), (cbam,) = (
        work(bed, name) for name in ("bare", "bare-channels-last", "bare-cbam")
    )
    assert plain.shape == (1, 1000)
    assert plain.std() > 0.001
    assert torch.allclose(last, plain, atol=1e-5)
    assert torch.equal(cbam, plain)  # γ is 0


def test_networks_share_weights_but_not_gradients(bed: Fixtures) -> None:
    mine, other = bed.network(), bed.network()
    for name, parameter in mine.named_parameters():
        assert parameter.data_ptr() == other.get_parameter(name).data_ptr()
        assert parameter.requires_grad
    mine.classifier[6].bias.grad = torch.ones(1000)
    assert other.classifier[6].bias.grad is None
    kept = bed.explained("cbam")
    assert kept.config.attention == "cbam"
    assert kept.get_parameter("attention.block1.module.channel.mlp.0.weight").std() > 0.01
    assert not any(parameter.requires_grad for parameter in kept.parameters())
    assert not any(module.training for model in (mine, kept) for module in model.modules())


@pytest.mark.parametrize(
    "name", [name for name in CASES if name not in OTHERS and name != "bare-compiled"]
)
def test_each_case_runs_the_network_it_names(bed: Fixtures, name: str) -> None:
    ready = CASES[name].ready(bed)
    assert isinstance(ready, partial)
    model: Network = ready.args[0]
    weight, images = model.get_parameter("features.34.weight"), ready.args[1]
    assert model.config.attention == ("cbam" if "cbam" in name else "none")
    assert len(images) == CASES[name].images == (16 if "b16" in name else 1)
    dtype = torch.bfloat16 if "bf16" in name else torch.float32
    assert weight.dtype == images.dtype == dtype
    if name.startswith("bare"):
        last = name in ("bare-channels-last", "bare-bf16")
        layout = torch.channels_last if last else torch.contiguous_format
        for tensor in (weight, images):
            assert tensor.is_contiguous(memory_format=layout)


def test_the_compiled_pass_is_of_the_same_network(bed: Fixtures) -> None:
    if not (shutil.which("c++") or shutil.which("g++")):
        pytest.skip("torch.compile needs a C++ compiler")
    model: Network = CASES["bare-compiled"].ready(bed).args[0]  # type: ignore[attr-defined]
    assert model._compiled_call_impl is not None
    assert model.get_parameter("features.34.weight").dtype is torch.bfloat16


def test_one_stage_gives_the_map_that_five_give(bed: Fixtures) -> None:
    one, five = work(bed, "vggviz-cbam-1"), work(bed, "vggviz-cbam-5")
    assert [tuple(cam.shape) for cam in five] == [(s, s) for s in (64, 32, 16, 8, 4)]
    assert len(one) == 1
    assert torch.allclose(one[0], five[-1], atol=1e-6)


def test_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[int, int]] = []
    names = ("vggviz-5", "vggviz-cbam-1")
    found = bench.run(
        size=64, width=0.125, repeats=2, names=names, progress=lambda *now: told.append(now)
    )
    assert list(found.timings) == ["bare", *names]  # bare is what ratios are of
    assert told == [(done, 9) for done in range(1, 10)]  # 3 cases, 1 + 2 rounds
    for name, timing in found.timings.items():
        assert timing.name == name
        assert len(timing.seconds) == 2
        assert min(timing.seconds) > 0
    assert (found.size, found.width, found.missing) == (64, 0.125, ())
    assert found.machine.threads == torch.get_num_threads()
    assert capsys.readouterr().out == ""


def test_threads_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    def prepare(*_: object) -> Callable[[], list[Tensor]]:
        seen.append(torch.get_num_threads())
        raise RuntimeError("broken")

    monkeypatch.setitem(CASES, "bare", replace(CASES["bare"], prepare=prepare))
    with pytest.raises(RuntimeError, match="broken"):
        bench.run(size=32, width=0.125, repeats=1, threads=before + 1, names=())
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_a_missing_library_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchcam.methods", None)  # importing it now fails
    found = bench.run(size=32, width=0.125, repeats=1, names=("torchcam-1", "torchcam-5"))
    assert found.missing == ("torchcam-1", "torchcam-5")
    assert list(found.timings) == ["bare"]
    assert found.to_json()["missing"] == ["torchcam-1", "torchcam-5"]
    lines = [cells(line)[:3] for line in bench.table(found).splitlines() if "torchcam" in line]
    assert lines[:2] == [["torchcam", n, "not installed"] for n in "15"]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, (1, 1, 1)),
        (2, (1.5, 1, 2)),
        (5, (3, 1, 5)),  # two-sided 2 · 2⁻⁵ = 6.25%: too few for 95%, so all of the range
        (6, (3.5, 1, 6)),
        (8, (4.5, 1, 8)),
        (9, (5, 2, 8)),  # 2 · (1 + 9) · 2⁻⁹ = 3.9%
        (15, (8, 4, 12)),
        (20, (10.5, 6, 15)),
        (100, (50.5, 40, 61)),
    ],
)
def test_the_interval_of_a_median(count: int, expected: tuple[float, float, float]) -> None:
    values = [(7 * i) % count + 1 if count % 7 else i + 1 for i in range(count)]  # out of order
    assert sorted(values) == list(range(1, count + 1))
    assert Interval.of(values) == expected
    timing = Timing("bare", tuple(map(float, values)))
    assert (timing.median, *timing.interval) == expected


def test_a_ratio_is_for_one_picture() -> None:
    found = report(bare=(1, 1, 1), vggviz_5_b16=(32, 16, 48), bare_b16=(8, 16, 24))
    assert found.ratio("vggviz-5-b16") == (2, 1, 3)
    assert found.ratio("vggviz-5-b16", "bare-b16") == (2, 1, 4)  # of 4, 1, 2


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    found = report(bare=(1, 2, 4), vggviz_5=(3, 2, 8), torchcam_5=(6, 2, 4))
    assert found.ratio("vggviz-5") == (2, 1, 3)  # of 3, 1, 2; the medians' ratio would be 3/2
    assert found.ratio("torchcam-5", "vggviz-5") == (1, 0.5, 2)  # of 2, 1, 1/2
    assert found.ratio("bare") == (1, 1, 1)


@pytest.mark.parametrize(
    ("bare", "load", "spread", "noisy"),
    [
        ((1, 1, 1, 1, 1), 0.5, 0.0, False),
        ((1, 1.05, 1.1, 1.15, 9), 0.5, 0.1 / 1.1, False),  # one outlier is no noise
        ((1, 1.2, 1.3, 1.4, 1.5), 0.5, 0.2 / 1.3, True),
        ((1, 1, 1, 1, 1), 1.0, 0.0, False),
        ((1, 1, 1, 1, 1), 1.1, 0.0, True),  # more than a quarter of 4 cores
        ((1, 1, 1, 1, 1), None, 0.0, False),
        ((1,), 0.0, 0.0, False),
    ],
)
def test_quiet_or_noisy(
    bare: tuple[float, ...], load: float | None, spread: float, noisy: bool
) -> None:
    found = report(replace(MACHINE, load=load), bare=bare)
    assert found.spread == pytest.approx(spread)
    assert found.noisy is noisy
    assert found.to_json()["state"] == ("noisy" if noisy else "quiet")
    last = bench.table(found).splitlines()[-1]
    assert last.startswith("Noisy machine" if noisy else "Quiet machine")
    assert f"{spread:.0%} of its median" in last
    assert ("unknown" if load is None else f"{load:.2f}") in last


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table() -> None:
    found = report(
        missing=("captum-5",),
        bare=(1, 1, 1, 1, 1, 1),
        vggviz_5=(1.5, 2, 2, 2, 2, 2.5),
        vggviz_5_b16=(48, 48, 48, 48, 48, 48),
        torchcam_5=(2, 2, 2, 3, 3, 3),
    )
    batch = ["vggviz, batch 16", "5", "48.000", "48.000–48.000"]
    head, rule, *lines = bench.table(found).splitlines()
    assert cells(head) == ["", "stages", "seconds", "95%", "× bare", "95%", "× like", "95%"]
    assert {len(line) for line in (rule, *lines[:5])} == {len(head)}
    assert set(rule) == set("|-: ")
    assert [cells(line) for line in lines[:5]] == [
        ["bare forward", "", "1.000", "1.000–1.000", "", "", "", ""],
        ["vggviz", "5", "2.000", "1.500–2.500", "2.00", "1.50–2.50", "", ""],
        [*batch, "3.00", "3.00–3.00", "1.50", "1.20–2.00"],  # for a picture, to one alone
        ["torchcam", "5", "2.500", "2.000–3.000", "2.50", "2.00–3.00", "1.27", "1.00–1.50"],
        ["captum", "5", "not installed", "", "", "", "", ""],
    ]
    assert lines[5] == ""
    notes = " ".join(lines[6:])
    for said in ("A CPU", "4 cores", "2 threads", "224 px", "6 rounds", "fp32", "plain bare"):
        assert said in notes


def test_few_rounds_give_a_range_and_do_not_claim_95_percent() -> None:
    head = bench.table(report(bare=(1, 2, 3, 4, 5))).splitlines()[0]
    assert "range" in head
    assert "95%" not in head


def test_json() -> None:
    found = report(bare=(1, 2, 4), vggviz_5=(3, 2, 8), torchcam_5=(6, 2, 4), grad_cam_1=(1, 1, 1))
    data = found.to_json()
    assert json.loads(json.dumps(data)) == data
    assert data["machine"]["cpu"] == "A CPU"
    assert (data["size"], data["width"], data["rounds"]) == (224, 1.0, 3)
    assert data["cases"]["torchcam-5"] == {
        "label": "torchcam",
        "stages": ["block1", "block2", "block3", "block4", "block5"],
        "images": 1,
        "targets": 1,
        "seconds": [6, 2, 4],
        "median": 4,
        "interval": [2, 6],
        "ratios": {
            "bare": {"median": 1, "low": 1, "high": 6},
            "vggviz-5": {"median": 1, "low": 0.5, "high": 2},
        },
    }
    assert list(data["cases"]["grad-cam-1"]["ratios"]) == ["bare"]  # vggviz-1 was not timed


def test_the_machine_is_described() -> None:
    found = machine()
    assert found.cpu
    assert found.cores >= 1
    assert found.threads == torch.get_num_threads()
    assert found.torch == torch.__version__
    assert found.date.endswith("+00:00")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"names": ("vggviz-3",)}, "no case 'vggviz-3': choose from bare,"),
        ({"repeats": 0}, "at least 1 round, not 0"),
    ],
)
def test_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bench.run(size=32, width=0.125, **settings)  # type: ignore[arg-type]


def test_every_case_names_its_like() -> None:
    """Another library's is ours on the same pictures; that of our batches is one picture."""
    for name, case in CASES.items():
        if name.startswith("bare"):
            assert not case.like
            continue
        ours = name.startswith("vggviz")
        assert bool(case.like) == (not ours or case.images > 1), name
        if case.like:
            like = CASES[case.like]
            assert (like.stages, like.targets) == (case.stages, case.targets)
            assert like.images == (1 if ours else case.images)


def test_measures_are_told_beside_the_timings() -> None:
    values = tuple(float(value) for value in range(20, 0, -1))
    page = MeasureValues("a page", "ms", "p95 ≤ 60", values)
    assert page.interval == (10.5, 6, 15)
    assert page.p95 == 19  # of 20 values, 19 do not exceed it
    assert MeasureValues("", "", "", (3.0,)).p95 == 3
    found = replace(report(bare=(1, 1, 1, 1, 1, 1)), measured={"page": page})
    lines = [cells(line) for line in bench.table(found).splitlines()]
    assert ["a page", "10.5 ms", "6–15", "19", "p95 ≤ 60"] in lines
    told = json.loads(json.dumps(found.to_json()))["measured"]["page"]
    assert (told["median"], told["low"], told["high"], told["p95"]) == (10.5, 6, 15, 19)
    assert told["values"] == list(values)


@pytest.mark.parametrize("name", ["page", "again", "faithful", "import", "load"])
def test_each_measure_measures(name: str) -> None:
    take = MEASURES[name].prepare()
    first, second = take(), take()
    assert 0 < min(first, second) < 60_000


@pytest.mark.parametrize("known", [True, False])
def test_finding_finds_all_attention_and_the_map(known: bool) -> None:
    pytest.importorskip("timm", reason="needs the extra 'timm'")
    bare, explain = measures.find_works(known)
    count, cam = explain()
    assert count == 16  # a squeeze-and-excitation in each of 3 + 4 + 6 + 3 blocks
    assert cam.shape == (7, 7)
    assert cam.max() > cam.min()
    assert bare().shape == (1, 1000)
    assert 0.1 < MEASURES["find-known" if known else "find"].prepare()() < 100


def test_a_measure_without_its_library_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)  # importing it now fails
    told: list[tuple[int, int]] = []
    found = bench.run(
        size=32, width=0.125, repeats=1, names=("find",), progress=lambda *now: told.append(now)
    )
    assert (found.missing, dict(found.measured)) == (("find",), {})
    assert told[-1] == (4, 4)
    label = MEASURES["find"].label
    lines = [cells(line) for line in bench.table(found).splitlines()]
    assert [label, "not installed", "", "", MEASURES["find"].aim] in lines


def test_a_second_view_costs_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    take = MEASURES["again"].prepare()

    def never(*_: object) -> None:
        raise AssertionError("the network ran")

    monkeypatch.setattr(Network, "forward", never)
    assert take() > 0
    with pytest.raises(AssertionError, match="the network ran"):
        MEASURES["page"].prepare()()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_memory_sees_what_is_held() -> None:
    held = measures._printed_number(
        measures._PEAK.replace("{work}", "x = bytearray(b'1') * (96 << 20)")
    )
    assert 90 < held < 130


def test_a_run_takes_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter(range(100))
    measure = replace(MEASURES["page"], prepare=lambda: lambda: float(next(numbers)), often=3)
    monkeypatch.setitem(MEASURES, "page", measure)
    told: list[tuple[int, int]] = []
    found = bench.run(
        size=32, width=0.125, repeats=2, names=("page",), progress=lambda *now: told.append(now)
    )
    assert list(found.timings) == ["bare"]
    assert found.measured["page"].values == (1, 2, 3, 4, 5, 6)  # the first is not kept
    assert told == [(done, 10) for done in range(1, 11)]
