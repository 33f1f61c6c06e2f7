"""The limit of open files: every open page holds a connection, and more while it loads."""

from __future__ import annotations

from contextlib import suppress

__all__ = ["raise_fd_limit"]

ENOUGH = 10_240  # the most that macOS allows; a laptop begins with 256 there, with 1,024 on Linux


def raise_fd_limit() -> None:
    """Raise this process's limit of open files to `ENOUGH`, or to the system's own limit."""
    with suppress(ModuleNotFoundError, ValueError, OSError):  # Windows has no such limit
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        target = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
        if soft != resource.RLIM_INFINITY and soft < target:
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
