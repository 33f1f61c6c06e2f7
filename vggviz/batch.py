"""Many pictures, one question: in this process, or over Ray Data on many cores or GPUs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch

import vggviz
from vggviz.attention.named import load_attention
from vggviz.explainer import Explainer
from vggviz.explanation import FILES
from vggviz.images import open_image
from vggviz.weights import fingerprint

__all__ = ["Done", "Job", "Worker", "on_ray"]

STORE = 96 << 20  # bytes that Ray may share: only names of files travel, and Ray wants 75 MiB


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked of every picture, as `Explainer.load` and `explain` take it, and where the
    results go; but `attention` as `load_attention` takes it. `options` are other arguments of
    `load`, for a network by name."""

    out: str
    weights: str = "tiny50"
    attention: str | None = None
    precision: str = "exact"
    stages: str = "all"
    methods: tuple[str, ...] = ("gradcam",)
    target: str | None = None
    formats: tuple[str, ...] = FILES
    full_range: bool = False
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Done(NamedTuple):
    """What became of one picture: what was `said` of it, or why it failed, and in which process."""

    file: str
    said: str
    failed: bool
    process: int


class Worker:
    """One network that explains pictures one after another; on a GPU where it was given one.

    Raises what `load_attention` and `Explainer.load` raise.
    """

    def __init__(self, job: Mapping[str, Any], device: str = "cpu", threads: int = 0) -> None:
        if threads:
            torch.set_num_threads(threads)
        self._job = Job(**job)
        more = {"precision": self._job.precision, "device": device, **self._job.options}
        named = self._job.attention and load_attention(self._job.attention)
        self.explainer = Explainer.load(self._job.weights, named, **more)

    def __call__(self, row: Mapping[str, str]) -> dict[str, Any]:
        """`row` holds `file`, and `stem`, the name of its results, which may begin with subfolders.
        A `Done` as a dictionary: a picture that can't be explained, for which memory runs out, or
        that can't be written, stops
        nothing."""
        file, job = row["file"], self._job
        try:
            image = open_image(file, full_range=job.full_range)
            found = self.explainer.explain(image, job.stages, job.methods, job.target)
            made = {"made_from": self.made_from(file)}
            explanation = replace(found, provenance={**found.provenance, **made})
            # JSON last: what it says of the files beside it holds once it is there.
            explanation.save(job.out, row["stem"], sorted(job.formats, key="json".__eq__))
        except (ValueError, OSError, MemoryError, RuntimeError) as error:
            said = _NO_MEMORY if _out_of_memory(error) else str(error)
            return Done(file, said, True, os.getpid())._asdict()
        first = explanation.prediction.top(1)[0]
        notes = filter(None, (explanation.note(), explanation.picture_note()))
        note = "".join(f" ({note})" for note in notes)
        shown = Path(job.out) / f"{row['stem']}.{job.formats[-1]}"
        said = f"{first.label} {first.probability:.1%}{note} → {shown}"
        return Done(file, said, False, os.getpid())._asdict()

    def made_from(self, file: str | Path) -> str:
        """SHA-256 of all that the results of a picture depend on: the file's content, the network,
        what is asked of it, and the versions. Raises OSError."""
        job, network, picture = self._job, self.explainer, Path(file)
        code = Path((job.attention or "").rpartition(":")[0])
        facts = [
            fingerprint(code) if code.is_file() else "",
            fingerprint(picture) if picture.is_file() else "",  # a pipe is read only once
            network.card.fingerprint,
            network.card.to_json(),
            network.precision,
            network.names(job.stages),
            job.methods,
            None if job.target is None else network.index(job.target),
            job.formats,
            job.full_range,
            vggviz.__version__,
            str(torch.__version__),
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def explained(self, file: str | Path, stem: str) -> bool:
        """Whether all results of this name are there already, and made from just this: the JSON
        among them says so, and none of the others is newer. Without JSON no one can tell."""
        out = Path(self._job.out)
        told = out / f"{stem}.json"
        files = [out / f"{stem}.{format}" for format in self._job.formats]
        try:
            last = told.stat().st_mtime_ns
            if any(one.stat().st_mtime_ns > last for one in files):
                return False
            made = json.loads(told.read_text("utf-8"))["provenance"]["made_from"]
            return bool(made == self.made_from(file))
        except (OSError, ValueError, KeyError, TypeError):
            return False


_NO_MEMORY = "there is not enough memory to explain it"


def _out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: Python's, a GPU's, or the CPU's, for which PyTorch and oneDNN have
    words but no type."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = ("allocate memory", "not enough memory", "out of memory", "could not create a")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def on_ray(
    job: Job, stems: Mapping[Path, str], workers: int | None = None, device: str = "auto"
) -> Iterator[Done]:
    """The same over Ray Data: one actor for each GPU, or where there is none, or `device` is 'cpu',
    for each core, or `workers` of them. They come in the order in which they are done.

    Runs on the cluster of RAY_ADDRESS, or on this machine alone. Paths must mean
    the same on all its machines.

    Raises ModuleNotFoundError without the extra 'ray', ValueError for fewer than one worker.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"there must be at least 1 worker, not {workers}")
    ray = import_module("ray")
    data = import_module("ray.data")
    rows = [{"file": str(file.absolute()), "stem": stem} for file, stem in stems.items()]
    if not rows:
        return
    mine = not ray.is_initialized()
    if mine:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster of ours tells no one
        alone = {
            "address": "local",
            "num_cpus": workers,
            "include_dashboard": False,
            "object_store_memory": STORE,
        }
        ray.init(
            **({} if "RAY_ADDRESS" in os.environ else alone),
            log_to_driver=False,
            logging_level="error",
        )
    try:
        data.DataContext.get_current().enable_progress_bars = False
        has = ray.cluster_resources()
        gpus = has.get("GPU", 0) >= 1 and device != "cpu"
        kind, device = ("GPU", "cuda") if gpus else ("CPU", "cpu")
        count = min(workers or int(has[kind]), int(has[kind]), len(rows))
        dataset = data.from_items(rows, override_num_blocks=min(len(rows), 8 * count)).map(
            Worker,
            fn_constructor_args=(asdict(_absolute(job)), device, 1),
            compute=data.ActorPoolStrategy(size=count),
            **{f"num_{kind.lower()}s": 1},
        )
        found: Iterable[dict[str, Any]] = dataset.iter_rows()
        for row in found:
            yield Done(**row)
    finally:
        if mine:
            ray.shutdown()


def _absolute(job: Job) -> Job:
    """With paths that don't depend on where a worker stands."""

    def absolute(path: str) -> str:
        return str(Path(path).absolute()) if Path(path).is_file() else path

    def named(text: str) -> str:
        home, colon, name = text.rpartition(":")
        return f"{absolute(home)}:{name}" if colon else absolute(name)

    weights, attention = named(job.weights), job.attention and named(job.attention)
    options = dict(job.options)
    if "checkpoint" in options:
        options["checkpoint"] = absolute(options["checkpoint"])
    changed = {
        "weights": weights,
        "attention": attention,
        "out": str(Path(job.out).absolute()),
        "options": options,
    }
    return Job(**{**asdict(job), **changed})
