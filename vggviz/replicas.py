"""Networks as Ray Serve's replicas: one handle, which batches what many ask at once.

The page stays in one process, where its sessions are; only the model is spread. Needs the extra
'ray'.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import ray
from PIL import Image
from ray import serve

from vggviz.attention.named import load_attention
from vggviz.explainer import Explainer, Report
from vggviz.explanation import Explanation
from vggviz.images import ImageSource, open_image

__all__ = ["BATCH", "Job", "Networks", "Spread", "start", "stop"]

log = logging.getLogger(__name__)

APP = "vggviz"
BATCH = 8  # pictures of one pass
WAIT = 0.01  # seconds that a first picture waits for others
STORE = 512 << 20  # bytes of pictures and answers that travel at once; beyond, Ray uses the disk
TRIES = 6  # a replica that died is replaced in seconds; until then others answer
PATIENCE = 300  # seconds; a replica that hangs is found and ended by Ray before
PAUSE = 0.5  # seconds before the second try, then twice, three times as long


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One picture, upright RGB, and what is asked of which network; `target` is a class index."""

    weights: str
    attention: str
    image: Image.Image
    target: int | None
    stages: tuple[str, ...]
    methods: tuple[str, ...]
    watch: tuple[str, ...] = ()

    @property
    def alike(self) -> tuple[object, ...]:
        """Jobs with the same can share a pass."""
        network = self.weights, self.attention
        asked = self.stages, self.methods, self.watch, self.target is None
        return *network, *asked


class Networks:
    """What a replica holds: the networks that were asked for lately."""

    def __init__(self) -> None:
        self._load = lru_cache(maxsize=4)(Explainer.load)

    def explain(self, jobs: Sequence[Job]) -> list[Explanation | Exception]:
        """An answer to each job, in their order; jobs that are alike share their passes.

        Where a pass fails, its jobs are told why, and the others have their answers.
        """
        groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for index, job in enumerate(jobs):
            groups[job.alike].append(index)
        found: dict[int, Explanation | Exception] = {}
        for places in groups.values():
            first = jobs[places[0]]
            targets = [jobs[place].target for place in places]
            try:
                explainer = self._load(first.weights, first.attention)
                told: Sequence[Explanation | Exception] = explainer.explain_batch(
                    [jobs[place].image for place in places],
                    targets,
                    first.stages,
                    first.methods,
                    watch=first.watch,
                )
            except (ValueError, OSError, RuntimeError) as error:
                told = [error] * len(places)
            found.update(zip(places, told, strict=True))
        return [found[index] for index in range(len(jobs))]


class Replica:
    """One of Ray Serve's replicas: it gathers jobs for a moment, then answers them together.

    `attention` are names that `load_attention` takes.
    """

    def __init__(self, attention: Sequence[str] = ()) -> None:
        for name in attention:
            load_attention(name)
        self._networks = Networks()
        gather: Any = serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT)
        self._gathered = gather(self._explain)

    async def __call__(self, job: Job) -> Explanation | Exception:
        """The answer to one job."""
        return await self._gathered(job)

    async def _explain(self, jobs: list[Job]) -> list[Explanation | Exception]:
        return await asyncio.to_thread(self._networks.explain, jobs)


class Spread(Explainer):
    """An explainer whose explanations come from the replicas; all else is as the local one's.

    Its own copy of the network is for what looks inside it. Safe to share between threads.
    """

    def __init__(self, here: Explainer, weights: str, attention: str, handle: Any) -> None:
        super().__init__(here.model, here.card)
        self._key = weights, attention
        self._handle = handle

    def explain_each(
        self,
        image: ImageSource,
        targets: Sequence[int | str | None],
        stages: str | Sequence[str] = "all",
        methods: Sequence[str] = ("gradcam",),
        *,
        watch: Sequence[str] = (),
        progress: Report = lambda done, total: None,
    ) -> list[Explanation]:
        """As `Explainer.explain_each`, but `progress` is not told; RuntimeError without replicas.

        What is wrong with a question is said here, before it travels.
        """
        opened = open_image(image)
        names = self.names(stages)
        indices = [None if target is None else self.index(target) for target in targets]
        jobs = [
            Job(*self._key, opened, index, names, tuple(methods), tuple(watch)) for index in indices
        ]
        asked = [self._handle.remote(job) for job in jobs]
        return [self._answer(job, one) for job, one in zip(jobs, asked, strict=True)]

    def _answer(self, job: Job, asked: Any) -> Explanation:
        """Wait for an answer; a replica that dies while it works is no one's loss."""
        attempt = 1
        while True:
            try:
                told = asked.result(timeout_s=PATIENCE)
            except TimeoutError as error:  # slow, not dead: to ask again would make it slower
                asked.cancel()
                raise RuntimeError("the replicas have too much to do") from error
            except ray.exceptions.RayError as error:
                log.warning("a replica did not answer, try %s: %s", attempt, type(error).__name__)
                if attempt == TRIES:
                    raise RuntimeError("no replica answers") from error
                time.sleep(PAUSE * attempt)
                asked, attempt = self._handle.remote(job), attempt + 1
                continue
            if isinstance(told, Exception):
                raise told
            return told


def start(
    replicas: int, cluster: str = "", *, attention: Sequence[str] = ()
) -> Callable[[str, str], Explainer]:
    """Start the replicas and wait for them: what loads an explainer over them.

    `attention` are names that `load_attention` takes; a file must be there for all replicas.
    `cluster` is the address of a Ray cluster that runs already, '' for one that is started here.
    That one listens in the network too, but only to who has its token. Raises RuntimeError where
    there is no room for the replicas, ConnectionError where there is no such cluster.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    if cluster:
        ray.init(cluster, **quiet)
    else:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster of ours tells no one
        ray.init("local", include_dashboard=False, object_store_memory=STORE, **quiet)
    cores = ray.cluster_resources().get("CPU", 0)
    if cores < replicas:
        raise RuntimeError(f"{replicas} replicas need as many cores; Ray has {cores:g}")
    serve.start(http_options={"location": "NoServer"})  # only the page asks them
    deployed: Any = serve.deployment(
        num_replicas=replicas, max_ongoing_requests=4 * BATCH, health_check_period_s=2
    )(Replica)
    handle = serve.run(deployed.bind(tuple(attention)), name=APP, route_prefix=None)

    def load(weights: str, attention: str) -> Explainer:
        return Spread(Explainer.load(weights, attention), weights, attention, handle)

    return load


def stop() -> None:
    """End the replicas, and the cluster if it was started here."""
    serve.shutdown()
    ray.shutdown()
