"""What tests of studies have in common."""

from __future__ import annotations

import pandas as pd


def assert_same_tables(found, expected):
    """Every value of two complete runs is the same to the bit."""
    assert found.complete
    pd.testing.assert_frame_equal(found.draws, expected.draws, check_exact=True)
    pd.testing.assert_frame_equal(found.profiles, expected.profiles, check_exact=True)
