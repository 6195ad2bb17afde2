"""Whose containers a prefix of a Redis database is about.

What this is: the rule by which a process and a Redis agree on a deployment's name. What it is not: the reading and
writing of it (`registry.evidence`). The invariant: a name that somebody said is never replaced by one that was made up,
whoever writes first after a data loss.
"""

from __future__ import annotations

from dataclasses import dataclass

from reactor.session import Deployment


@dataclass(frozen=True, slots=True)
class Owner:
    """A deployment's name ('': none); `guessed`: nobody said it, it was made of where Redis was found."""

    deployment: Deployment
    guessed: bool = False


def agree(ours: Owner, written: Owner, *, lost: bool) -> Owner | None:
    """Return the name that stands from now on; None where two differ and neither may give way.

    `lost`: Redis lost its data since we had agreed, so whoever came first may not have known better.
    """
    if not written.deployment:
        return ours
    if not ours.deployment:
        return written
    if ours.deployment == written.deployment:
        return Owner(ours.deployment, guessed=ours.guessed and written.guessed)
    return ours if lost and written.guessed else None
