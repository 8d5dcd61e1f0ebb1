"""What the demo must tell: run by `tox -e wheel` on the store that the installed wheel made in an empty folder.

The planted finding is lost at external hospitals in every run, by more than .10 and surely. The results depend a little on how a processor rounds.
"""

import sys
from pathlib import Path

import pandas as pd

tables = Path(sys.argv[1]) / "report" / "demo" / "tables"
gaps, splits = pd.read_parquet(tables / "gaps.parquet"), pd.read_parquet(tables / "splits.parquet")
recipes = set(pd.read_parquet(tables / "recipes.parquet")["recipe_id"])
gaps = gaps[~gaps["run_id"].isin(recipes)]
planted = gaps[(gaps["dataset"] == "external") & (gaps["finding"] == "Pleural Effusion")]
assert len(planted) == 4
assert (planted["value"] > 0.10).all(), planted
assert (planted["low"] > 0).all(), planted
internal = splits[splits["dataset"] == "chexpert"].set_index("split")["images"]
assert internal["train"] >= 1500
assert internal["test"] >= 300
assert splits.loc[splits["dataset"] != "chexpert", "images"].min() >= 300
sources = pd.read_parquet(tables / "sources.parquet")
shortcut = sources.query("metric == 'balanced_accuracy' and probe == 'features' and shots == 0")
assert shortcut.loc[shortcut["control"] == "none", "value"].min() > 0.8, shortcut
assert shortcut.loc[shortcut["control"] == "shuffled", "value"].between(0.10, 0.24).all(), shortcut
page = (tables.parent / "leaderboard.html").read_text(encoding="utf-8")
assert "Pleural Effusion: mean AUROC" in page
print(f"the demo of the wheel tells its story: AUROC gaps {', '.join(f'{value:.3f}' for value in planted['value'])}")
