"""What the endpoints of the API share: their texts are checked, and a picture is explained."""

from __future__ import annotations

import gradio as gr

from vggviz.app.errors import sentence, user_error
from vggviz.app.inputs import UploadedPicture
from vggviz.app.markup import method_title
from vggviz.app.result import SMALL
from vggviz.app.session import Session
from vggviz.cache import explain_cached
from vggviz.cam import METHODS, check_methods
from vggviz.explanation import Explanation
from vggviz.images import ImageError
from vggviz.images.isolated import shared_decoder

__all__ = ["MAPS", "check_texts", "explanation_of", "split_names"]

MAPS = 64
"""The most stages × methods of one request: drawing a figure can't be interrupted."""


def explanation_of(
    session: Session,
    image: UploadedPicture | None,
    weights: str,
    attention: str,
    stages: str,
    methods: str,
    target: str,
) -> Explanation:
    """`explain_cached` with the arguments of the API, which are texts. Raises gr.Error."""
    if image is None:
        raise user_error(session.text("api.picture"))
    check_texts(session, weights, attention, stages, methods, target)
    explainer = session.networks.get(weights or "", attention or "")
    chosen = split_names(methods)
    slow = [name for name in chosen if name in METHODS and METHODS[name].slow]
    if slow and explainer.preprocess.size > SMALL:
        title = method_title(session.lang, slow[0])
        raise user_error(session.text("api.passes", method=title, weights=weights))
    try:
        every = (stages or "").strip() == "all"
        places = explainer.model.stages if every else split_names(stages)
        if len(places) * max(1, len(chosen)) > MAPS:
            raise user_error(session.text("api.maps", most=MAPS))
        index = session.class_index(explainer, (target or "").strip())
        (explanation,) = explain_cached(
            session.networks.cache,
            explainer,
            image.source,
            (index,),
            places,
            check_methods(chosen),
            open_image=shared_decoder().open_image,
            progress=session.deadline(),
        )
        return explanation
    except (gr.Error, ImageError):  # which are ValueErrors, too
        raise
    except ValueError as error:
        raise user_error(sentence(error, session.lang)) from error


def check_texts(session: Session, *values: object) -> None:
    """Raise gr.Error for a value that is neither a text nor null."""
    if not all(isinstance(one, str | None) for one in values):
        raise user_error(session.text("api.texts"))


def split_names(texts: str | None) -> list[str]:
    """The names between commas, each once; none for None, which API clients may send."""
    return list(dict.fromkeys(name.strip() for name in (texts or "").split(",") if name.strip()))
