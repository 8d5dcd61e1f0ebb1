"""Files of single readers in the published forms, from which `panels` reads the same answers."""

from pathlib import Path

from bench.extensions.readers.reader_files import FOUR, IMAGE, READER, STUDY, Panel
from harmonize.datasets import nih
from harmonize.datasets.csvfile import cells


def write(panel: Panel, root: Path) -> None:
    """Write the files of a panel into the folder of its dataset, from which `panels` returns the same answers."""
    labels = [str(name) for name in panel.table if name not in (panel.key, READER)]
    raw = panel.table.copy()
    if panel.layout == "nih":
        answers = {state: text for text, state in {"YES": 1, "NO": 0, "HEDGE": -1}.items()}
        raw[labels] = raw[labels].apply(lambda column: column.map(answers))
        raw = raw.rename(columns={IMAGE: "Image ID", READER: "Reader ID"} | {"Nodule or mass": "Nodule/mass"})
        raw.insert(1, "Patient ID", raw["Image ID"].str[:8].str.lstrip("0"))
        name = "individual_readers" if panel.name == FOUR else "test_individual_readers"
        path = root / nih.FOLDERS[panel.source] / f"{name}.csv"
    elif panel.layout == "vindr":
        raw[labels] = raw[labels].astype(int)
        raw, path = raw.rename(columns={READER: "rad_id"}), root / "annotations/image_labels_train.csv"
    elif panel.layout == "chexpert":
        raw.insert(0, "Study", "CheXpert-v1.0/test/" + raw.pop(STUDY))
        raw[labels] = raw[labels].astype(int)
        for reader, rows in raw.groupby(READER, sort=False):
            path = (
                root
                / f"radiologists/{'groundtruth' if str(reader).endswith('_gt') else 'benchmark_radiologists'}/{reader}.csv"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            rows.drop(columns=READER).to_csv(path, index=False)
        return
    else:
        raw[labels], path = raw[labels].apply(cells), root / panel.path.name
    path.parent.mkdir(parents=True, exist_ok=True)
    raw.to_csv(path, index=False)
