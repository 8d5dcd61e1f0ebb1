"""How this was measured: the rules, and where every number comes from."""

from typing import Any

from reports.board import AWAY, Board
from reports.section import Section, write
from reports.text import percent

WORDS = {
    "phantom": "the program that drew the images",
    "report": "radiology reports, read by a labeller",
    "radiologist": "radiologists",
}


def method(board: Board) -> Section:
    """Write the rules of the protocol and what all runs share."""
    facts = [r.facts for r in (*board.ranked, *board.unranked)]

    def distinct(key: str) -> list[str]:
        return sorted({str(f[key]) for f in facts if isinstance(f.get(key), str) and f[key]})

    split: dict[str, Any] = dict(board.meta.get("split") or {})
    order = [n for n in ("train", "val", "test") if n in split]
    shares = {n: split[n] for n in [*order, *sorted(set(split) - set(order))]}  # JSON keeps no order
    scores = board.tables["scores"]
    there = scores[scores["dataset"] != AWAY]  # away is a mean over hospitals whose labellers may differ
    context = {
        "board": board,
        "shares": [(name, percent(float(share), 1)) for name, share in shares.items()],
        "versions": distinct("versions"),
        "devices": distinct("device"),
        "commits": distinct("commit"),
        "references": [WORDS.get(r, r) for r in sorted(set(there["reference"].astype(str)))],
        "fingerprints": [
            (board.title(str(d)), str(f), str(licence))
            for d, f, licence in zip(
                *(board.tables["cohorts"][c] for c in ("dataset", "fingerprint", "licence")), strict=True
            )
        ],
        "runs": (*board.ranked, *board.unranked),
    }
    return Section("method", "Method", write("method.html.j2", **context))
