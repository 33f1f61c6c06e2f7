"""Upload weights to the Hugging Face Hub: the file, its card as JSON, and a model card."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vggviz.networks import resolve
from vggviz.weights.adapters import read
from vggviz.weights.card import Card, WeightsError
from vggviz.weights.hub import FILE, PREFIX, failures, parse, reason
from vggviz.weights.tensors import read_card

__all__ = ["page", "push_to_hub"]

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
        "README.md": page(repo, card).encode(),
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


def page(repo: str, card: Card) -> str:
    """The README.md of a repository, made from the card's facts: the Hub's model card."""
    from huggingface_hub import ModelCardData

    facts = card.facts
    licence = str(facts.get("licence", "unknown"))
    known = licence.lower() in LICENCES | {"unknown"}
    data = ModelCardData(
        license=licence.lower() if known else "other",
        license_name=None if known else licence,
        library_name="vggviz",
        pipeline_tag="image-classification",
        tags=[
            card.config.architecture.removesuffix("_bn"),
            "attention",
            "explainability",
            "grad-cam",
            "vggviz",
        ],
    )
    config = resolve(card.config)
    attention = "without attention"
    if config.attention != "none":
        attention = f"with `{config.attention}` attention at {', '.join(config.stages)}"
    limits = {
        "nothing": "All weights are random: nothing was learned. ",
        "backbone": "The attention is untrained"
        + (": it is blended in with γ = 0. " if config.blend == "residual" else ". "),
    }.get(card.trained, "")
    blocks = [
        f"---\n{data.to_yaml()}\n---",
        f"# {repo}",
        f"{config.architecture} at width {config.width:g}, "
        f"{attention}; {config.num_classes} classes, pictures of {card.preprocess.size} pixels a "
        "side.",
        "## Use",
        "```python\nfrom vggviz import Explainer\n\n"
        f'explainer = Explainer.load(weights="{PREFIX}{repo}")\n'
        'explainer.explain_refusal("picture.jpg").save("out/")\n```',
    ]
    if card.backbone is not None:
        blocks.append(
            f"The file is an adapter: it holds what differs from the weights `{card.backbone}` "
            f"(SHA-256 `{card.backbone.fingerprint}`), which `vggviz` brings or downloads."
        )
    blocks += [
        "## Accuracy",
        _facts(facts, _measured) or "Not measured.",
        "## Data and recipe",
        _facts(facts, lambda key: not _measured(key)) or "Not told.",
        "## Limits",
        f"{limits}It knows its {config.num_classes} classes and nothing else: any picture gets one "
        "of them. Attention and CAMs show what the network used, not what is true.",
        f"Classes: {', '.join(_code(label) for label in card.labels[:60])}"
        f"{', …' if len(card.labels) > 60 else ''}",
    ]
    return "\n\n".join(blocks) + "\n"


def _measured(key: str) -> bool:
    """Whether a fact is about accuracy: training writes 'validation' and 'validation_pictures'."""
    return key.startswith("validation") or "accuracy" in key


def _facts(facts: Mapping[str, Any], include: Callable[[str], bool]) -> str:
    """The facts whose key `include` accepts, as a list; a run's history stays in config.json."""
    return "\n".join(
        f"- {_code(key)}: {_code(value if isinstance(value, str) else json.dumps(value))}"
        for key, value in facts.items()
        if key != "history" and include(key)
    )


def _code(text: str) -> str:
    """Markdown code on one line, so that no text is interpreted as markup."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`"
