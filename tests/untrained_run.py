"""A store with one finished, untrained run, and an image for it."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from safetensors.torch import save_file

from bench.config.registry import Registry
from bench.config.run_config import RunConfig
from bench.models.network import build
from bench.planning.run import RunSpec
from bench.store.checked_folders import CheckedFolder
from bench.store.store import Store, write_table

ROOT = Path(__file__).parents[1]
WITH_THRESHOLD = ("Pleural Effusion", "Cardiomegaly")


def finished_run(folder: Path, **choice: Any) -> tuple[Store, RunSpec]:
    """Return a store with one finished, untrained run; WITH_THRESHOLD has thresholds."""
    defaults = {"architecture": "seresnet_tiny", "optimizer": "adamw", "loss": "bce", "preprocessing": "imagenet_64"}
    config = RunConfig(**(defaults | {"uncertainty": "u_ignore", "channels": 1} | choice))
    run = RunSpec.of(config, Registry.read(ROOT / "registry.yaml"), "c0ffee", None)
    store = Store.open(folder / "runs")
    folder_of_run = store.begin(run.id, run.document)
    num = len(config.findings)
    entry = run.entries["architecture"]
    network = build(entry.use, entry.options, num * run.states, 1, num_findings=num, states=run.states, seed=3)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder_of_run / "model.safetensors")
    (folder_of_run / "trained.json").write_text("{}")
    CheckedFolder(folder_of_run).mark_done()
    points = pd.DataFrame(
        [(run.id, f, rule, p) for f in WITH_THRESHOLD for rule, p in (("f1_max", 0.5), ("youden", 0.1))],
        columns=["run_id", "finding", "rule", "probability"],
    )
    write_table(store.root / "scores" / run.id / "operating_points.parquet", points)
    columns = ("dataset", "split", "subgroup", "calibrator", "finding", "metric", "value", "low", "high")
    write_table(store.root / "scores" / run.id / "scores.parquet", pd.DataFrame(columns=columns))
    (store.root / "scores" / run.id / "KEY").write_text("key")
    return store, run


def write_radiograph(folder: Path) -> Path:
    """Write an image of blurred noise; return its path."""
    draw = np.random.default_rng(0)
    image = cv2.GaussianBlur(draw.integers(0, 255, (120, 100), np.uint8), (0, 0), 5)
    cv2.imwrite(str(folder / "a.png"), cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX))
    return folder / "a.png"
