"""Hypothesis without a deadline: a law is no timed test, and the machine is shared."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("laws", deadline=None, max_examples=60)
settings.load_profile("laws")
