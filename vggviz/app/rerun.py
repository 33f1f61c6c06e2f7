"""The network once more on what a session shows, for the tabs that ask it something else."""

from __future__ import annotations

from collections.abc import Sequence

from vggviz.app.networks import NOTHING, Networks, Owned
from vggviz.app.pictures import Floats, Pixels, Shown, refusal
from vggviz.app.stages import STAGES
from vggviz.explainer import Explainer, Report
from vggviz.explanation import Explanation
from vggviz.images import Crop
from vggviz.locales import text

__all__ = ["again", "explainer_of", "known_stage", "recall", "spatial_of", "stage_of"]


def explainer_of(networks: Networks, shown: Shown, own: Owned = NOTHING) -> Explainer:
    """The network that gave what is shown. Raises WeightsError where the session lost it."""
    return networks.get(shown.question.weights, shown.attention, own)


def again(
    explainer: Explainer,
    shown: Shown,
    stages: Sequence[str] = STAGES,
    methods: Sequence[str] = ("gradcam",),
) -> Explanation:
    """What a network with the same classes, as it is now, says of the very same square, for the
    class that is shown."""
    return explainer.explain_crop(*_square(shown), stages, methods)[0]


def recall(
    networks: Networks,
    shown: Shown,
    own: Owned = NOTHING,
    stages: Sequence[str] = STAGES,
    methods: Sequence[str] = ("gradcam",),
    *,
    attention: str | None = None,
    progress: Report = lambda done, total: None,
) -> Explanation:
    """As `again`, of the network that gave what is shown, or that with another `attention`; from
    memory where it was asked this before."""
    explainer = networks.get(shown.question.weights, attention or shown.attention, own)
    return networks.explanations.explain_crop(
        explainer, *_square(shown), stages, methods, progress=progress
    )[0]


def _square(shown: Shown) -> tuple[Pixels, Crop, tuple[int]]:
    where = Crop(**shown.details["provenance"]["crop"])
    return shown.crop, where, (shown.target.index,)


def known_stage(stage: object, lang: str = "en") -> str:
    """A stage that a browser asked for: it may be anything. Raises gr.Error for none."""
    if stage not in STAGES:
        raise refusal(text(lang, "trouble.view"))
    return str(stage)


def stage_of(shown: Shown, stage: str) -> str:
    """This stage, or the last one with attention where it has none there but elsewhere."""
    having = [name for name, place in shown.places.items() if place.weighs]
    return stage if stage in having or not having else having[-1]


def spatial_of(found: Explanation, stage: str) -> Floats | None:
    """The first attention of a stage that is a map over places, (h, w), raw."""
    for record in found.attention.get(stage, ()):
        if record.spatial is not None:
            return record.spatial.numpy()
    return None
