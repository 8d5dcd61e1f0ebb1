"""A narrow axis has two tick numbers or more, and they lie inside it: the next column of the table would cover the rest."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from reports.drawing.svg import micro_axis

SIX_PIXELS = 6  # width of a digit


@example(0.0625, 0.40625)  # steps of .5 give no tick here
@given(st.floats(-0.5, 0.2), st.floats(0.01, 0.8))
def test_tick_numbers_lie_inside_the_axis(low: float, length: float) -> None:
    drawn = re.findall(r'<text x="([\d.-]+)"[^>]*>([^<]+)</text>', micro_axis(low, low + length))
    assert len(drawn) > 1
    for x, label in drawn:
        half = SIX_PIXELS * len(label) / 2
        assert half <= float(x) + 0.051
        assert float(x) - 0.051 <= 64 - half
