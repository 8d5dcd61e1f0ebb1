"""Tests of the Kaggle release of VinDr: the boxes of all readers give the expected labels."""

import random
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmonize.datasets import native, vindr

BOX_LABELS = [label for label in vindr.KAGGLE_LABELS if label != "No finding"]
VOTES = st.dictionaries(  # image -> reader -> labels of the reader's boxes; an empty set means "No finding"
    st.sampled_from(["a", "b", "c"]),
    st.dictionaries(
        st.sampled_from(["R1", "R2", "R3"]), st.frozensets(st.sampled_from(BOX_LABELS), max_size=4), min_size=1
    ),
    min_size=1,
)


def rows(votes: dict[str, dict[str, frozenset[str]]]) -> list[str]:
    """Return rows as published: one per box, some labels with two boxes, in random order."""
    written = []
    for image, readers in votes.items():
        for reader, labels in readers.items():
            for number, label in enumerate(sorted(labels)):
                row = f"{image},{label},{number},{reader},"
                written += [f"{row}1,2,30,40", f"{row}50,60,70,80"][: 1 + number % 2]
            if not labels:
                written.append(f"{image},No finding,14,{reader},,,,")
    random.Random(len(written)).shuffle(written)
    return written


@pytest.mark.slow
@settings(max_examples=25)
@given(VOTES)
def test_boxes_of_readers_give_the_labels_of_each_source(votes: dict[str, dict[str, frozenset[str]]]) -> None:
    with TemporaryDirectory() as folder:
        text = "\n".join(["image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max", *rows(votes)])
        (Path(folder) / "train.csv").write_text(text + "\n")
        for source, needed in {"majority": 0.5, "any_reader": 0.0, "all_readers": None}.items():
            table = vindr.read(Path(folder), source).set_index("image_id")
            assert set(table.index) == set(votes)
            for image, readers in votes.items():
                for label in vindr.KAGGLE_LABELS:
                    num_marks = sum(
                        label in labels or (not labels and label == "No finding") for labels in readers.values()
                    )
                    expected = num_marks == len(readers) if needed is None else num_marks > needed * len(readers)
                    assert table.loc[image, native(label)] == int(expected), (source, image, label)
            assert table[native("Edema")].isna().all()
        boxes = vindr.boxes(Path(folder))
        assert len(boxes) == sum(",,,," not in row for row in rows(votes))
