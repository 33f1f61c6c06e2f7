"""Networks as Ray Serve's replicas on a real local cluster, one killed while many ask."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from served import SERVE, Served, served
from student import Answer, Student, students

from vggviz import Explainer
from vggviz.explanation import Explanation
from vggviz.weights import assets_folder

pytest.importorskip("ray.serve", reason="needs the extra 'ray'")

from vggviz.replicas import Job, Networks

EXAMPLES = sorted((assets_folder() / "examples").resolve().glob("*.jpg"))[:4]
pytestmark = pytest.mark.ray


def same(a: Explanation, b: Explanation) -> bool:
    """Whether two explanations say the same, up to how a batch rounds."""
    return (
        a.target.index == b.target.index
        and a.provenance == b.provenance
        and torch.allclose(a.prediction.logits, b.prediction.logits, atol=1e-4)
        and np.array_equal(a.image, b.image)
        and a.heatmaps.keys() == b.heatmaps.keys()
        and all(
            torch.allclose(a.heatmaps[k].raw, b.heatmaps[k].raw, rtol=1e-3, atol=1e-5)
            for k in a.heatmaps
        )
        and a.attention.keys() == b.attention.keys()
        and all(
            torch.allclose(x.weights, y.weights, atol=1e-5)
            for k in a.attention
            for x, y in zip(a.attention[k], b.attention[k], strict=True)
        )
    )


def test_a_batch_says_what_its_pictures_say_alone() -> None:
    explainer = Explainer.load("everyday", "cbam")
    alone = [explainer.explain(file) for file in EXAMPLES]
    assert sum(same(a, b) for a in alone for b in alone) == len(alone)  # a mix-up would show
    together = explainer.explain_batch(EXAMPLES, [None] * 4)
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))
    told = explainer.explain_batch(EXAMPLES, ["koala", 3, 2, "1"], "block5", ("layercam",))
    for file, target, one in zip(EXAMPLES, ("koala", 3, 2, 1), told, strict=True):
        assert same(one, explainer.explain(file, "block5", ("layercam",), target))
    with pytest.raises(ValueError, match="for each of its pictures, or for none"):
        explainer.explain_batch(EXAMPLES, [None, 1, 2, 3])


def test_jobs_of_every_kind_find_their_own_answers() -> None:
    images = [Image.open(file).convert("RGB") for file in EXAMPLES]
    stages, methods = ("block4", "block5"), ("gradcam",)
    jobs = [
        Job("everyday", attention, image, target, stages, methods)
        for image in images
        for attention, target in (("cbam", None), ("se", None), ("cbam", 7), ("nothing", None))
    ]
    answers = Networks().explain(jobs)
    explainers = {name: Explainer.load("everyday", name) for name in ("cbam", "se")}
    for job, answer in zip(jobs, answers, strict=True):
        if job.attention == "nothing":
            assert isinstance(answer, ValueError)
            continue
        wanted = explainers[job.attention].explain(job.image, stages, methods, job.target)
        assert isinstance(answer, Explanation)
        assert same(answer, wanted)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`vggviz serve --engine ray` with two replicas on a cluster that it starts itself."""
    if (os.cpu_count() or 1) < 2:
        pytest.skip("two replicas need two cores")
    folder = tmp_path_factory.mktemp("ray")
    with served(folder, (*SERVE, "--engine", "ray")) as server:
        yield server


def replicas(server: Served) -> list[int]:
    """The process ids of this page's replicas."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
            if (
                b"ServeReplica:vggviz" in title
                and str(server.log.parent).encode() in (folder / "environ").read_bytes()
            ):
                found.append(int(folder.name))
        except OSError:  # gone meanwhile
            continue
    return found


def cpu(process: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.timeout(900)  # a busy machine is slow to start ten processes
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds replicas in /proc")
def test_a_replica_is_killed_and_nobody_notices(page: Served) -> None:
    """Two networks: the bundled one, and the full-size one, which holds a replica for seconds."""
    local = {weights: Explainer.load(weights, "cbam") for weights in ("everyday", "random")}

    async def ask(one: Student, weights: str) -> None:
        file = EXAMPLES[len(asked) % len(EXAMPLES)]
        asked.append((weights, file))
        one.values = [weights if value in list(local) else value for value in one.values]
        answers.append((weights, file, await one.explain(file)))

    async def lesson() -> None:
        async with students(page.address, 12) as people:
            for one in people:
                await one.open()
            await asyncio.gather(*(ask(one, "everyday") for one in people))
            await ask(people[0], "random")  # the page has it from now on
            first = replicas(page)
            assert len(first) == 2
            asking = [asyncio.create_task(ask(one, "random")) for one in people[:4]]
            asking += [asyncio.create_task(ask(one, "everyday")) for one in people[4:]]
            used = {process: cpu(process) for process in first}
            until = time.monotonic() + 120
            while not (busy := [one for one in first if cpu(one) - used[one] > 0.4]):
                assert time.monotonic() < until
                await asyncio.sleep(0.02)
            os.kill(busy[0], signal.SIGKILL)
            await asyncio.gather(*asking)
            until = time.monotonic() + 90
            while len(now := set(replicas(page))) < 2:  # Ray starts another in its place
                assert time.monotonic() < until
                await asyncio.sleep(0.2)
            assert busy[0] not in now
            await asyncio.gather(*(ask(one, "everyday") for one in people))

    asked: list[tuple[str, Path]] = []
    answers: list[tuple[str, Path, Answer]] = []
    asyncio.run(lesson())
    assert [answer.said for *_, answer in answers] == ["ok"] * 37
    assert "a replica did not answer" in page.printed()  # one died with work in its hands
    wanted = {key: local[key[0]].explain(key[1]).prediction.top(1)[0] for key in set(asked)}
    for weights, file, answer in answers:
        top = answer.details["top"][0]
        assert answer.details["weights"] == weights
        assert top["label"] == wanted[weights, file].label
        assert top["probability"] == pytest.approx(wanted[weights, file].probability, abs=1e-4)
        assert answer.whole()
    page.process.terminate()
    assert page.process.wait(60) == 0
    assert replicas(page) == []
