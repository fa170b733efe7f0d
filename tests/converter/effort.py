"""How many examples a property gets: `--hypothesis-profile=thorough` multiplies all of them."""

from __future__ import annotations

from hypothesis import settings


def examples(ordinary: int) -> int:
    """Scale a property's ordinary number of examples by the profile in force."""
    now, laws = settings(), settings.get_profile("laws")
    return ordinary * now.max_examples // laws.max_examples
