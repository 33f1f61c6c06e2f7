"""Weights on the Hugging Face Hub: repository names, the download, and its errors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from vggviz.weights.card import WeightsError

__all__ = ["FILE", "PREFIX", "Reason", "failures", "fetch", "parse", "reason"]

PREFIX = "hf:"
FILE = "model.safetensors"
MOST = 2 << 30  # bytes: a VGG19 of full size has 0.6 GB in float32
PART = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
REVISION = re.compile(r"(?!.*(?://|\.\.))[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,126}[A-Za-z0-9_])?")


def parse(name: str) -> tuple[str, str]:
    """Split 'hf:user/repo@revision' into ('user/repo', 'revision'), by default 'main'.

    Raises WeightsError for an invalid repository name or revision.
    """
    repo, at, revision = name.removeprefix(PREFIX).partition("@")
    parts = repo.split("/")
    fits = len(parts) == 2 and len(repo) <= 96 and not repo.endswith(".git")
    if not fits or not all(PART.fullmatch(part) for part in parts):
        raise WeightsError(f"no repository {repo!r}: one on the Hub is called user/repo")
    if at and not REVISION.fullmatch(revision):
        raise WeightsError(f"no revision {revision!r}: it is a branch, a tag or a commit")
    return repo, revision or "main"


def fetch(name: str, folder: Path | None = None) -> Path:
    """The local copy of the 'model.safetensors' of 'hf:user/repo' or 'hf:user/repo@revision'.

    It lies in huggingface_hub's cache, or in `folder`, and is downloaded where that is older than
    the Hub's; offline the local copy is returned. No other file is ever downloaded, and none of
    more than `MOST` bytes. Raises WeightsError with the reason.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    repo, revision = parse(name)
    try:
        # Asked first, since hf_hub_download tries for half a minute where there is no network.
        size = get_hf_file_metadata(hf_hub_url(repo, FILE, revision=revision)).size or 0
        if size > MOST:
            raise WeightsError(
                f"the {FILE} of {repo} has {size / 1e9:,.1f} GB: at most {MOST / 1e9:.1f} are "
                "fetched"
            )
        return Path(hf_hub_download(repo, FILE, revision=revision, local_dir=folder))
    except WeightsError:  # a ValueError, as huggingface_hub's are
        raise
    except failures() as error:
        sentence, away = reason(error, repo, revision)
        if not away:
            raise WeightsError(sentence) from error
        try:
            return Path(
                hf_hub_download(
                    repo, FILE, revision=revision, local_dir=folder, local_files_only=True
                )
            )
        except failures():
            raise WeightsError(
                f"{name} is not on this machine, and {sentence}; weights 'tiny50' need no network"
            ) from error


def failures() -> tuple[type[Exception], ...]:
    """The exceptions that huggingface_hub raises for network, server and disk errors.

    Its transport is httpx or httpx2, depending on its version: the first base class of its HTTP
    error is that library's. A failed upload is a RuntimeError, an invalid answer a ValueError.
    """
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    transport: type[Exception] = HfHubHTTPError.__bases__[0]
    return (EntryNotFoundError, HfHubHTTPError, transport, OSError, RuntimeError, ValueError)


class Reason(NamedTuple):
    """An error as a sentence, and whether the Hub is unreachable, so that a local copy is used."""

    sentence: str
    away: bool = False


def reason(error: Exception, repo: str, revision: str = "main") -> Reason:
    """Translate one of the `failures` into a sentence."""
    from huggingface_hub import errors

    token = "(set one with `hf auth login` or HF_TOKEN)"
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        return reason(error.__cause__, repo, revision)
    if isinstance(error, errors.LocalEntryNotFoundError):  # one of the EntryNotFoundErrors below
        return Reason("the Hub could not be reached", away=True)
    if isinstance(error, errors.GatedRepoError):
        return Reason(f"{repo} is gated: ask for access on its page")
    if isinstance(error, errors.RepositoryNotFoundError):
        there = f"there is no repository {repo} on the Hub"
        return Reason(f"{there}, or this machine's token can't see it {token}")
    if isinstance(error, errors.RevisionNotFoundError):
        return Reason(f"{repo} has no revision {revision!r}")
    if isinstance(error, errors.EntryNotFoundError):
        return Reason(f"{repo} holds no {FILE}, and nothing else is loaded from the Hub")
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return Reason(f"this machine's token is not allowed to do that with {repo} {token}")
        return Reason(f"the Hub answered with status {status}", away=True)
    if isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError):
        return Reason(f"{repo} could not be stored: {error.strerror}")
    if isinstance(error, ValueError):
        return Reason("the Hub's answer made no sense to huggingface_hub", away=True)
    return Reason("the Hub could not be reached", away=True)
