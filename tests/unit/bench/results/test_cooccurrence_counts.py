"""Co-occurrence of findings, compared with counting image by image."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.results.cohort_tables import cooccurrence
from harmonize.labels.findings import UNMAPPED_CODE

STATES = st.sampled_from([1, 0, -1, -2, UNMAPPED_CODE])


@given(arrays(np.int8, st.tuples(st.integers(0, 12), st.just(3)), elements=STATES))
def test_each_pair_is_counted_over_images_with_both_labels(state):
    names = ("A", "B", "C")
    expected = []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        counts = [0, 0, 0, 0]
        for row in state:
            if row[a] in (1, 0, -2) and row[b] in (1, 0, -2):
                counts[2 * (row[a] != 1) + (row[b] != 1)] += 1
        if sum(counts):
            expected.append((names[a], names[b], *counts))
    assert cooccurrence(state, names) == expected
