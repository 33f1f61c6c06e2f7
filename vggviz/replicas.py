"""Networks as Ray Serve replicas behind one handle, which batches concurrent requests.

The page and its sessions stay in one process. Needs the extra 'ray'.
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
from typing import TYPE_CHECKING, Any

import ray
from PIL import Image
from ray import serve

from vggviz.attention.named import load_attention
from vggviz.explainer import Explainer, Options
from vggviz.explanation import Explanation
from vggviz.images import ImageSource, open_image

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["BATCH", "Job", "Networks", "RemoteExplainer", "start", "stop"]

log = logging.getLogger(__name__)

APP = "vggviz"
BATCH = 8  # pictures of one pass
WAIT = 0.01  # seconds that a first picture waits for others
STORE = 512 << 20  # bytes of pictures and answers in transit; beyond, Ray uses the disk
TRIES = 6  # a replica that died is replaced in seconds; until then others answer
TIMEOUT = 300  # seconds; a replica that hangs is found and ended by Ray before
PAUSE = 0.5  # seconds before the second try, then twice, three times as long


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One picture, upright RGB, for one network; `target` is a class index. Others are as for
    `Explainer.explain_batch`."""

    weights: str
    attention: str
    image: Image.Image
    target: int | None
    stages: tuple[str, ...]
    methods: tuple[str, ...]
    watch: tuple[str, ...] = ()

    @property
    def batch_key(self) -> tuple[object, ...]:
        """Equal for jobs that can share a pass."""
        options = self.stages, self.methods, self.watch, self.target is None
        return self.weights, self.attention, *options


class Networks:
    """The networks of one replica: those used last."""

    def __init__(self) -> None:
        self._load = lru_cache(maxsize=4)(Explainer.load)

    def explain(self, jobs: Sequence[Job]) -> list[Explanation | Exception]:
        """An explanation for each job, in their order, or the error of its pass; jobs with the same
        `batch_key` share their passes."""
        groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for index, job in enumerate(jobs):
            groups[job.batch_key].append(index)
        by_index: dict[int, Explanation | Exception] = {}
        for indices in groups.values():
            members = [jobs[index] for index in indices]
            first, images = members[0], [job.image for job in members]
            options = first.stages, first.methods
            answers: Sequence[Explanation | Exception]
            try:
                explainer = self._load(first.weights, first.attention)
                targets = [job.target for job in members]
                answers = explainer.explain_batch(images, targets, *options, watch=first.watch)
            except (ValueError, OSError, RuntimeError) as error:
                answers = [error] * len(members)
            by_index.update(zip(indices, answers, strict=True))
        return [by_index[index] for index in range(len(jobs))]


class Replica:
    """One of Ray Serve's replicas: jobs of `WAIT` seconds are answered together.

    `attention` are names that `load_attention` takes.
    """

    def __init__(self, attention: Sequence[str] = ()) -> None:
        for name in attention:
            load_attention(name)
        self._networks = Networks()
        batched: Any = serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT)
        self._batched = batched(self._explain)

    async def __call__(self, job: Job) -> Explanation | Exception:
        """The answer to one job."""
        return await self._batched(job)

    async def _explain(self, jobs: list[Job]) -> list[Explanation | Exception]:
        return await asyncio.to_thread(self._networks.explain, jobs)


class RemoteExplainer(Explainer):
    """An explainer whose explanations come from the replicas.

    What else looks inside the network uses its own copy. Safe to share between threads.
    """

    def __init__(self, local: Explainer, weights: str, attention: str, handle: Any) -> None:
        super().__init__(local.model, local.card)
        self._key = weights, attention
        self._handle = handle

    def explain_each(
        self,
        image: ImageSource,
        targets: Sequence[int | str | None],
        stages: str | Sequence[str] = "all",
        methods: Sequence[str] = ("gradcam",),
        **options: Unpack[Options],
    ) -> list[Explanation]:
        """As `Explainer.explain_each`, but without progress; arguments are checked here, before
        they travel. Raises RuntimeError where no replica answers."""
        opened, names = open_image(image), self.names(stages)
        indices = [None if target is None else self.index(target) for target in targets]
        rest = names, tuple(methods), tuple(options.get("watch", ()))
        jobs = [Job(*self._key, opened, index, *rest) for index in indices]
        answers = [self._handle.remote(job) for job in jobs]
        return [self._answer(job, one) for job, one in zip(jobs, answers, strict=True)]

    def _answer(self, job: Job, response: Any) -> Explanation:
        """The answer to a job; where its replica died, another one's."""
        attempt = 1
        while True:
            try:
                answer = response.result(timeout_s=TIMEOUT)
                break
            except TimeoutError as error:  # slow, not dead: a second try would make it slower
                response.cancel()
                raise RuntimeError("the replicas have too much to do") from error
            except ray.exceptions.RayError as error:
                log.warning("a replica did not answer, try %s: %s", attempt, type(error).__name__)
                if attempt == TRIES:
                    raise RuntimeError("no replica answers") from error
                time.sleep(PAUSE * attempt)
                response, attempt = self._handle.remote(job), attempt + 1
        if isinstance(answer, Exception):
            raise answer
        return answer


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
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
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
        return RemoteExplainer(Explainer.load(weights, attention), weights, attention, handle)

    return load


def stop() -> None:
    """End the replicas, and the cluster if it was started here."""
    serve.shutdown()
    ray.shutdown()
