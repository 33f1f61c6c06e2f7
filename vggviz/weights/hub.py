"""Weights on the Hugging Face Hub: repository names, the download, and its errors."""

from __future__ import annotations

import re
from pathlib import Path

from vggviz.weights.card import WeightsError

__all__ = ["FILE", "PREFIX", "failures", "fetch", "parse", "reason"]

PREFIX = "hf:"
FILE = "model.safetensors"
AWAY = ("hub_unreachable", "hub_status", "hub_invalid_answer")  # so that a local copy is used
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
        raise WeightsError("no_repository", repo=repo)
    if at and not REVISION.fullmatch(revision):
        raise WeightsError("no_revision", revision=revision)
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
            sizes = {"size": f"{size / 1e9:,.1f}", "most": f"{MOST / 1e9:.1f}"}
            raise WeightsError("hub_too_large", file=FILE, repo=repo, **sizes)
        return Path(hf_hub_download(repo, FILE, revision=revision, local_dir=folder))
    except WeightsError:  # a ValueError, as huggingface_hub's are
        raise
    except failures() as error:
        why = reason(error, repo, revision)
        if why.code not in AWAY:
            raise why from error
        try:
            return Path(
                hf_hub_download(
                    repo, FILE, revision=revision, local_dir=folder, local_files_only=True
                )
            )
        except failures():
            raise WeightsError("hub_no_copy", name=name, why=why) from error


def failures() -> tuple[type[Exception], ...]:
    """The exceptions that huggingface_hub raises for network, server and disk errors.

    Its transport is httpx or httpx2, depending on its version: the first base class of its HTTP
    error is that library's. A failed upload is a RuntimeError, an invalid answer a ValueError.
    """
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    transport: type[Exception] = HfHubHTTPError.__bases__[0]
    return (EntryNotFoundError, HfHubHTTPError, transport, OSError, RuntimeError, ValueError)


def reason(error: Exception, repo: str, revision: str = "main") -> WeightsError:
    """Translate one of the `failures`. Its code is in `AWAY` where the Hub can't be reached."""
    from huggingface_hub import errors

    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        return reason(error.__cause__, repo, revision)
    if isinstance(error, errors.LocalEntryNotFoundError):  # one of the EntryNotFoundErrors below
        return WeightsError("hub_unreachable")
    if isinstance(error, errors.GatedRepoError):
        return WeightsError("hub_gated", repo=repo)
    if isinstance(error, errors.RepositoryNotFoundError):
        return WeightsError("hub_no_repository", repo=repo)
    if isinstance(error, errors.RevisionNotFoundError):
        return WeightsError("hub_no_revision", repo=repo, revision=revision)
    if isinstance(error, errors.EntryNotFoundError):
        return WeightsError("hub_no_file", repo=repo, file=FILE)
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return WeightsError("hub_forbidden", repo=repo)
        return WeightsError("hub_status", status=status)
    if isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError):
        return WeightsError("hub_not_stored", repo=repo, why=error.strerror)
    if isinstance(error, ValueError):
        return WeightsError("hub_invalid_answer")
    return WeightsError("hub_unreachable")
