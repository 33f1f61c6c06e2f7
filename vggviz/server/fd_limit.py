"""As many connections as a room needs: every open page holds one, and more while it loads."""

from __future__ import annotations

from contextlib import suppress

__all__ = ["allow"]

MANY = 10_240  # the most that macOS allows; a laptop begins with 256 there, with 1,024 on Linux


def allow() -> None:
    """Raise the limit of open files to `MANY`, or as near as the system lets anyone."""
    with suppress(ModuleNotFoundError, ValueError, OSError):  # Windows has no such limit
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MANY if hard == resource.RLIM_INFINITY else min(MANY, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
