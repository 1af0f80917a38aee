"""Hypothesis without a time limit an example: a busy machine is no finding. The same examples on every run."""

from hypothesis import settings

settings.register_profile("drivers", deadline=None, derandomize=True)
settings.load_profile("drivers")
