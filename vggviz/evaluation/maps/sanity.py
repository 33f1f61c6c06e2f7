"""Whether maps change when the network forgets what it has learned."""

from __future__ import annotations

from vggviz.evaluation.maps.job import Job, Part, Row
from vggviz.metrics.sanity import compared, randomised
from vggviz.networks import Network, build_network

__all__ = ["depths", "keep_sane"]

METRIC = "sanity"


def keep_sane(job: Job) -> Part:
    """The likeness of every map to itself after layers were made untrained, for the class that the
    whole network says: all layers from the top down to one, and each one alone."""
    pictures = job.pictures.first(job.curves)
    targets = job.likeliest(pictures)
    before = job.views(pictures, targets)
    fresh = build_network(job.model.config, job.generator())
    rows: list[Row] = []
    for word, cascading in (("cascading", True), ("independent", False)):
        layers = depths(job.model)
        for layer, model in randomised(job.model, fresh, layers, cascading=cascading):
            after = job.views(pictures, targets, model)
            for view, maps in before.items():
                spearman, ssim = compared(maps, after[view]).T
                columns = {f"spearman, {word}": spearman, f"ssim, {word}": ssim}
                rows += job.rows(METRIC, view, columns, layer)
    return Part(tuple(rows))


def depths(model: Network) -> dict[str, tuple[str, ...]]:
    """What becomes untrained together, from the top down: the linear layers, then attention and
    convolutions, each with its norm."""
    found: dict[str, tuple[str, ...]] = {}
    linear = [index for index, layer in enumerate(model.classifier) if any(layer.state_dict())]
    for index in reversed(linear):
        found["head" if len(linear) == 1 else f"fc{6 + linear.index(index)}"] = (
            f"classifier.{index}",
        )
    norms = {name[2:]: path for name, path in model.layers.items() if name.startswith("bn")}
    for name, path in reversed(model.layers.items()):
        if path.startswith("attention."):
            if any(model.get_submodule(path).state_dict()):
                found[f"attention at {name}"] = (path,)
        elif name.startswith("conv"):
            norm = norms.get(name[4:])
            found[name] = (path,) if norm is None else (path, norm)
    return found
