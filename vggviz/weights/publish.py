"""Upload weights to the Hugging Face Hub: the file, its card as JSON, and a model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from vggviz.networks import resolve
from vggviz.weights.adapters import read
from vggviz.weights.card import Card, WeightsError
from vggviz.weights.hub import FILE, failures, parse, reason
from vggviz.weights.tensors import read_card

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

__all__ = ["model_card", "push_to_hub"]

# What the Hub calls the licences that weights of VGG19 usually have.
LICENCES = {"apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"}


def push_to_hub(
    repo: str, file: str | Path, *, private: bool = False, token: str | None = None
) -> str:
    """Upload a weights file to 'user/repo' on the Hugging Face Hub, and return its URL.

    The repository is made where it is missing. One commit holds 'model.safetensors', the card
    as 'config.json' and a 'README.md'; other files there stay. `token` is by default the one that
    `hf auth login` stored, or HF_TOKEN.

    Raises WeightsError where the file does not load, stands on a file that would not travel with
    it, or the Hub refuses or can't be reached; where `private` is asked for and the repository is
    public, nothing is uploaded.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    repo, revision = parse(repo)
    if revision != "main":
        raise WeightsError("push_branch", revision=revision)
    source = Path(file)
    card = read_card(source)
    if card.backbone is not None and card.backbone.is_file:
        backbone = card.backbone.weights
        raise WeightsError("push_needs_file", name=source.name, backbone=backbone)
    _, card = read(source, source.stem, None)
    api = HfApi(token=token, library_name="vggviz")
    contents: dict[str, str | bytes] = {
        FILE: str(source),
        "config.json": json.dumps(card.to_json(), indent=2, ensure_ascii=False).encode(),
        "README.md": str(model_card(repo, card)).encode(),
    }
    try:
        url = str(api.create_repo(repo, private=private, exist_ok=True))
        public = private and not api.model_info(repo).private
        if not public:
            api.create_commit(
                repo,
                [CommitOperationAdd(path, content) for path, content in contents.items()],
                commit_message="Upload weights with vggviz",
            )
    except failures() as error:
        raise WeightsError("not_pushed", name=source.name, why=reason(error, repo)) from error
    if public:
        raise WeightsError("push_public", repo=repo)
    return url


def model_card(repo: str, card: Card) -> ModelCard:
    """The README.md of a repository, from the card's facts and `model_card.md`."""
    from huggingface_hub import ModelCard, ModelCardData

    config = resolve(card.config)
    licence = str(card.facts.get("licence", "unknown"))
    known = licence.lower() in LICENCES | {"unknown"}
    architecture = config.architecture.removesuffix("_bn")
    data = ModelCardData(
        license=licence.lower() if known else "other",
        license_name=None if known else licence,
        library_name="vggviz",
        pipeline_tag="image-classification",
        tags=[architecture, "attention", "explainability", "grad-cam", "vggviz"],
    )
    measured: list[str] = []
    recipe: list[str] = []
    for key, value in card.facts.items():
        if key != "history":  # it stays in config.json
            # Training writes 'validation' or 'agreement', and 'validation_pictures'.
            is_result = key.startswith(("validation", "agreement")) or "accuracy" in key
            part = measured if is_result else recipe
            text = value if isinstance(value, str) else json.dumps(value)
            part.append(f"- {_code(key)}: {_code(text)}")
    return ModelCard.from_template(
        data,
        template_path=str(Path(__file__).with_name("model_card.md")),
        repo=repo,
        config=config,
        size=card.preprocess.size,
        trained=card.trained,
        backbone=card.backbone,
        measured="\n".join(measured),
        recipe="\n".join(recipe),
        labels=[_code(label) for label in card.labels],
    )


def _code(text: str) -> str:
    """Markdown code on one line, so that no text is interpreted as markup."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`"
