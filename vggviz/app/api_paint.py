"""The endpoint of the API that paints attention weights."""

from __future__ import annotations

from typing import Any

from vggviz.app.api_request import explanation_of
from vggviz.app.errors import user_error
from vggviz.app.inputs import UploadedPicture
from vggviz.app.session import Session, handler
from vggviz.networks.paint_code import encode, read_mask
from vggviz.networks.painting import painted_logits
from vggviz.types import Prediction

__all__ = ["paint"]


@handler
def paint(
    session: Session,
    image: UploadedPicture | None,
    weights: str = "everyday",
    attention: str = "cbam",
    stage: str = "block4",
    mask: Any = None,
) -> dict[str, Any]:
    """Paint where a network looks: its answer with your weights in the place of its attention's.

    Gives the kind of the weights and the mask's size (rows, columns), the top five classes with
    the mask and with the learned weights, and the mask as a code, as in the page's links.

    Args:
        image: The picture.
        weights: 'everyday' (trained, 84 classes) or 'random' (untrained, full size).
        attention: cbam, or another type with weights of positions or of channels.
        stage: block4 or block5 for everyday.
        mask: Rows of numbers from 0 to 1, one for each position (10 × 10 at block4 of everyday) or,
            in one row, for each channel; or a code; empty for the learned weights.
    """
    explanation = explanation_of(session, image, weights, attention, stage, "", "")
    explainer = session.networks.get(weights or "", attention or "")
    grounds = session.paint_grounds(explainer, explanation.image)
    if stage not in grounds.stages:
        known = ", ".join(grounds.stages) or session.text("api.paint_none")
        raise user_error(session.text("api.paint", stage=stage, attention=attention, known=known))
    ground = grounds.stages[stage]
    laid, logits = ground.learned, grounds.logits
    if mask is not None and mask not in ("", []):
        laid = read_mask(mask, ground.size)
        logits = painted_logits(explainer.model, ground, laid)
    return {
        "stage": stage,
        "kind": ground.kind,
        "size": list(ground.size),
        "code": encode(laid),
        "painted": _top(explainer.prediction(logits)),
        "learned": _top(explainer.prediction(grounds.logits)),
    }


def _top(prediction: Prediction) -> list[dict[str, Any]]:
    return [ranked._asdict() for ranked in prediction.top(5)]
