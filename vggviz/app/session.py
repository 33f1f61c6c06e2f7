"""What one visitor of the page has, and how their request is explained or found in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from inspect import isgeneratorfunction
from typing import Any, TypeVar
from weakref import ref

import gradio as gr
import torch
from torch import Tensor

from vggviz.app.deadline import deadline
from vggviz.app.errors import boundary, user_error
from vggviz.app.inputs import UploadedPicture
from vggviz.app.networks import NO_NETWORKS, Networks, OwnNetworks
from vggviz.app.result import Maps, Pixels, Request, Result, raw_maps
from vggviz.cache import explain_cached, picture_digest, store_explanations
from vggviz.cam import METHODS
from vggviz.explainer import Explainer, Report
from vggviz.explanation import Explanation
from vggviz.hooks.capture import Change
from vggviz.locales import text
from vggviz.metrics.faithfulness import SCALED, Kind, perturb
from vggviz.networks.painting import Grounds, paint_grounds
from vggviz.platform.device import move_to, run_network

__all__ = ["Session", "handler"]

Handler = TypeVar("Handler", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """One visitor at one moment: the networks that all share and those of their own, the last
    result, and the language.

    Gradio copies the values of states, and compares them by hash. A copy of a session is the
    session itself, and its hash depends on the request and the language only: the same result with
    the maps of one more method is no change.
    """

    networks: Networks
    result: Result | None = None
    own: OwnNetworks = field(default_factory=lambda: NO_NETWORKS)
    lang: str = "en"

    def __hash__(self) -> int:
        request = self.result.request if self.result else None
        return hash((request if request and request.path else id(self.result), self.lang))

    def __deepcopy__(self, memo: object) -> Session:
        return self

    def text(self, key: str, **values: object) -> str:
        """The text of this key in the visitor's language."""
        return text(self.lang, key, **values)

    @property
    def current(self) -> Result:
        """The last result. Raises gr.Error where there is none."""
        if self.result is None:
            raise user_error(self.text("trouble.picture"))
        return self.result

    def explainer(self, attention: str | None = None) -> Explainer:
        """The network of the last result, or the one with another `attention` of the same weights.
        Raises WeightsError where the session lost it."""
        request = self.current.request
        return self.networks.get(request.weights, attention or request.attention, self.own)

    def deadline(self, report: Report = lambda done, total: None) -> Report:
        """`report`, but one that raises gr.Error once this request has taken too long or its
        visitor has left. It is to be called between passes."""
        check = deadline(self.networks.seconds, self.lang)

        def check_and_report(done: int = 0, total: int = 0) -> None:
            check(done, total)
            report(done, total)

        return check_and_report

    def explain(self, picture: UploadedPicture, request: Request) -> Result:
        """The result of a request: the last one where it answers the same, one from the cache, or a
        new one. The same content gives the same result to everyone.

        Raises gr.Error for an unknown class, and what the network and the picture raise.
        """
        if self.result is not None and self.result.request == request and request.path is not None:
            return self.result
        explainer = self.networks.get(request.weights, request.attention, self.own)
        targets = [self.class_index(explainer, request.target)]
        if request.contrast:
            targets.append(self.class_index(explainer, request.contrast))
        key = (ref(explainer), picture.digest, *targets)
        found: Result = self.networks.cache.compute(
            key, lambda: self._run(explainer, picture, request, targets)
        )
        return replace(found, request=request)

    def class_index(self, explainer: Explainer, target: str) -> int | None:
        """The index of a class from its index, label or WordNet id; None for '', the predicted one.
        Digits are always an index, since the dropdowns send it. Raises gr.Error."""
        if not target:
            return None
        index = target.isascii() and target.isdigit() and len(target) <= 18
        with boundary(self.lang):
            return explainer.index(int(target) if index else target)

    def _run(
        self,
        explainer: Explainer,
        picture: UploadedPicture,
        request: Request,
        targets: Sequence[int | None],
    ) -> Result:
        """One forward and one partial backward pass; then, with attention off, another forward
        pass, from the lowest stage with attention where the network can start there."""
        model, paths = explainer.model, explainer.model.feature_paths()
        stages = model.listed_stages()
        found = explainer.explain_each(picture.image, targets, stages, watch=tuple(paths.values()))
        features = {
            stage: model.to_map(path, found[0].features[path]) for stage, path in paths.items()
        }
        without = None
        if len(model.attention):
            lowest = next((stage for stage in model.stages if stage in model.attention), "")
            with torch.no_grad(), model.bypass():
                if model.resumable:
                    logits = model(move_to(model, features[lowest][None]), lowest)
                else:
                    pixels = explainer.preprocess.normalise(found[0].image)[None]
                    logits = model(move_to(model, pixels))
            without = explainer.prediction(logits[0].cpu())
        store_explanations(self.networks.cache, explainer, found, stages)  # for the tabs
        return Result.of(found, features, picture, request, model, without)

    def explanations(
        self,
        stages: Sequence[str] | None = None,
        methods: Sequence[str] = ("gradcam",),
        *,
        attention: str | None = None,
        contrast: bool = False,
        progress: Report = lambda done, total: None,
    ) -> list[Explanation]:
        """The crop of the last result, explained for the class of the last result (and, with
        `contrast`, for the one that it is contrasted with), by the same network or one with another
        `attention`. What is in the cache costs no pass. All stages by default."""
        result = self.current
        classes = [result.target.index]
        if contrast and result.contrast is not None:
            classes.append(result.contrast.index)
        explainer = self.explainer(attention)
        return explain_cached(
            self.networks.cache,
            explainer,
            result.crop,
            classes,
            explainer.model.listed_stages() if stages is None else stages,
            methods,
            where=result.where,
            progress=self.deadline(progress),
        )

    def explain_changed(self, change: Change, untrained: Sequence[str]) -> Explanation:
        """The crop of the last result, explained for its class with other attention weights (see
        `Network.intervene`) in a network whose parameter groups `untrained` are as before training.
        """
        result, explainer, check = self.current, self.explainer(), self.deadline()
        if untrained:
            model = explainer.model.untrained(untrained, torch.Generator().manual_seed(0))
            explainer = Explainer(model, explainer.card, device=explainer.device, copy=False)
            check(1, 2)
        with explainer.model.intervene(change):
            (found,) = explainer.explain_crop(
                result.crop, result.where, (result.target.index,), result.names
            )
        return found

    def paint_grounds(self, explainer: Explainer, crop: Pixels) -> Grounds:
        """What can be painted for a crop, the network's input (S, S, 3), from the cache where it
        holds it: a stroke then costs only the part of the network from its stage on.

        Raises InputError for a network that can't be run from a stage on.
        """
        digest, _ = picture_digest(crop)

        def run() -> Grounds:
            pixels = explainer.preprocess.normalise(crop)[None]
            return paint_grounds(explainer.model, move_to(explainer.model, pixels))

        found: Grounds = self.networks.cache.compute(("paint", ref(explainer), digest), run)
        return found

    def curve(
        self,
        explainer: Explainer,
        crop: Pixels,
        heatmap: Tensor,
        target: int,
        kind: Kind,
        check: Report,
        batch: int = 16,
    ) -> Iterator[tuple[float, float]]:
        """The points of a deletion or insertion curve as they are computed: see `perturb`. `check`
        is called after each, with how many there are."""
        predict = partial(run_network, explainer.model)
        pixels = explainer.preprocess.normalise(crop)
        points = perturb(
            *(predict, pixels, heatmap, target, kind, SCALED),
            batch=batch,
            multi_label=explainer.card.multi_label,
        )
        for done, point in enumerate(points, 1):
            check(done, SCALED.steps + 1)
            yield point

    def explanation(
        self,
        stages: Sequence[str] | None = None,
        methods: Sequence[str] = ("gradcam",),
        *,
        attention: str | None = None,
        progress: Report = lambda done, total: None,
    ) -> Explanation:
        """The first of `explanations`: for the class of the last result."""
        return self.explanations(stages, methods, attention=attention, progress=progress)[0]

    def maps(self, method: str, stage: str, progress: Report) -> Maps:
        """The maps of one more CAM method for the last result: at all stages, but of one that takes
        many passes at this one only."""
        result = self.current
        stages = (stage,) if METHODS[method].slow else result.names
        none = {(stage, method, role): None for stage in stages for role in (0, 1)}
        if METHODS[method].needs == "attention" and not result.weighs_positions:
            return none
        found = self.explanations(stages, (method,), contrast=True, progress=progress)
        return {**none, **raw_maps(found)}


def handler(function: Handler) -> Handler:
    """Decorate a function of a session as a handler of the page: its errors become toasts in the
    session's language (see `boundary`).

    Without a session, as in a tab that was never opened, the handler changes nothing.
    """

    @wraps(function)
    def call(session: Session | None, *args: Any, **named: Any) -> Any:
        if session is None:
            return gr.skip()
        with boundary(session.lang):
            return function(session, *args, **named)

    @wraps(function)
    def generate(session: Session | None, *args: Any, **named: Any) -> Any:
        if session is not None:
            with boundary(session.lang):
                yield from function(session, *args, **named)

    return generate if isgeneratorfunction(function) else call  # type: ignore[return-value]
