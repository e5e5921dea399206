"""Test settings: hypothesis profiles."""

from __future__ import annotations


def pytest_configure() -> None:
    from hypothesis import settings

    # compiling in the first example would break any deadline
    settings.register_profile("vgcore", deadline=None, max_examples=25, derandomize=True)
    settings.load_profile("vgcore")
