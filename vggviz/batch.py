"""Explanations of many pictures, in this process or over Ray Data on many cores or GPUs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
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
from vggviz.weights import BUNDLED, fingerprint

__all__ = ["Job", "Outcome", "Worker", "on_ray"]

STORE = 96 << 20  # bytes that Ray may share: only names of files travel, and Ray wants 75 MiB


@dataclass(frozen=True, slots=True)
class Job:
    """What to compute for every picture, as `Explainer.load` and `explain` take it, but `attention`
    as `load_attention` takes it, and the folder `out` for the results. `options` are other
    arguments of `load`, for a network by name."""

    out: str
    weights: str = BUNDLED
    attention: str | None = None
    precision: str = "exact"
    stages: str = "all"
    methods: tuple[str, ...] = ("gradcam",)
    target: str | None = None
    formats: tuple[str, ...] = FILES
    full_range: bool = False
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    lang: str = "en"


class Outcome(NamedTuple):
    """What became of one picture: a `message` on the result or on the failure, and in which
    process."""

    file: str
    message: str
    failed: bool
    process: int


class Worker:
    """One network that explains pictures one after another.

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
        """Explain `row['file']`, write the results under the name `row['stem']`, which may begin
        with subfolders, and return an `Outcome` as a dictionary.

        Errors of one picture, also of memory and of writing, are outcomes."""
        file, job = row["file"], self._job
        try:
            image = open_image(file, full_range=job.full_range)
            explanation = self.explainer.explain(image, job.stages, job.methods, job.target)
            made_from = {"made_from": self.fingerprint(file)}
            explanation = replace(explanation, provenance={**explanation.provenance, **made_from})
            # JSON last: `is_done` takes it for the sign that the other files are whole.
            formats = sorted(job.formats, key="json".__eq__)
            explanation.save(job.out, row["stem"], formats, job.lang)
        except (ValueError, OSError, MemoryError, RuntimeError) as error:
            message = _NO_MEMORY if _out_of_memory(error) else str(error)
            return Outcome(file, message, True, os.getpid())._asdict()
        first = explanation.prediction.top(1)[0]
        notes = filter(None, (explanation.note(), explanation.picture_note()))
        note = "".join(f" ({note})" for note in notes)
        last = Path(job.out) / f"{row['stem']}.{job.formats[-1]}"
        message = f"{first.label} {first.probability:.1%}{note} → {last}"
        return Outcome(file, message, False, os.getpid())._asdict()

    def fingerprint(self, file: str | Path) -> str:
        """SHA-256 of all that the results of a picture depend on: the file's content, the network,
        the job, and the versions. Raises OSError."""
        job, explainer, picture = self._job, self.explainer, Path(file)
        code = Path((job.attention or "").rpartition(":")[0])
        facts = [
            fingerprint(code) if code.is_file() else "",
            fingerprint(picture) if picture.is_file() else "",  # a pipe is read only once
            explainer.card.fingerprint,
            explainer.card.to_json(),
            explainer.precision,
            explainer.names(job.stages),
            job.methods,
            None if job.target is None else explainer.index(job.target),
            *(job.formats, job.full_range, job.lang),
            *(vggviz.__version__, str(torch.__version__)),
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def is_done(self, file: str | Path, stem: str) -> bool:
        """Whether all results of this name exist and have this `fingerprint`, which the JSON among
        them records; none of the others may be newer. False where there is no JSON."""
        out = Path(self._job.out)
        record = out / f"{stem}.json"
        files = [out / f"{stem}.{format}" for format in self._job.formats]
        try:
            last = record.stat().st_mtime_ns
            if any(one.stat().st_mtime_ns > last for one in files):
                return False
            made_from = json.loads(record.read_text("utf-8"))["provenance"]["made_from"]
            return bool(made_from == self.fingerprint(file))
        except (OSError, ValueError, KeyError, TypeError):
            return False


_NO_MEMORY = "there is not enough memory to explain it"


def _out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: Python's, a GPU's, or the CPU's, for which PyTorch and oneDNN have
    words but no type."""
    words = ("allocate memory", "not enough memory", "out of memory", "could not create a")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def on_ray(
    job: Job, stems: Mapping[Path, str], workers: int | None = None, device: str = "auto"
) -> Iterator[Outcome]:
    """Explain the pictures in `stems`, by file with the name of its results, over Ray Data, and
    yield the outcomes as they come: one actor for each GPU, or where there is none, or `device` is
    'cpu', for each core, at most `workers`.

    Runs on the cluster of RAY_ADDRESS, or on this machine alone. Paths must mean the same on all
    its machines. Raises ModuleNotFoundError without the extra 'ray', ValueError for fewer than one
    worker.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"there must be at least 1 worker, not {workers}")
    ray, data = import_module("ray"), import_module("ray.data")
    rows = [{"file": str(file.absolute()), "stem": stem} for file, stem in stems.items()]
    if not rows:
        return
    owned = not ray.is_initialized()
    if owned:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        local: dict[str, Any] = {"address": "local", "num_cpus": workers}
        local |= {"include_dashboard": False, "object_store_memory": STORE}
        cluster = {} if "RAY_ADDRESS" in os.environ else local
        ray.init(**cluster, log_to_driver=False, logging_level="error")
    try:
        data.DataContext.get_current().enable_progress_bars = False
        resources = ray.cluster_resources()
        gpus = resources.get("GPU", 0) >= 1 and device != "cpu"
        kind, device = ("GPU", "cuda") if gpus else ("CPU", "cpu")
        count = min(workers or int(resources[kind]), int(resources[kind]), len(rows))
        dataset = data.from_items(rows, override_num_blocks=min(len(rows), 8 * count)).map(
            Worker,
            fn_constructor_args=(asdict(_absolute(job)), device, 1),
            compute=data.ActorPoolStrategy(size=count),
            **{f"num_{kind.lower()}s": 1},
        )
        for row in dataset.iter_rows():
            yield Outcome(**row)
    finally:
        if owned:
            ray.shutdown()


def _absolute(job: Job) -> Job:
    """The job with absolute paths: workers run in other folders."""

    def absolute(path: str) -> str:
        return str(Path(path).absolute()) if Path(path).is_file() else path

    def named(text: str) -> str:
        home, colon, name = text.rpartition(":")
        return f"{absolute(home)}:{name}" if colon else absolute(name)

    weights, attention = named(job.weights), job.attention and named(job.attention)
    options = dict(job.options)
    if "checkpoint" in options:
        options["checkpoint"] = absolute(options["checkpoint"])
    out = str(Path(job.out).absolute())
    return replace(job, weights=weights, attention=attention, out=out, options=options)
