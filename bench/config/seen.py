"""The key `seen`: what a model, or starting weights, had seen of each hospital. Used in model.yaml and in the registry."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from harmonize.errors import ConfigError
from reports.schemas.exposure import ANSWERS, NO, UNKNOWN

OTHERS = "others"  # key for all hospitals that `seen` does not name


@dataclass(frozen=True, slots=True)
class SeenData:
    """What a model had seen of one hospital: an answer (see ANSWERS), and optionally a list of the images."""

    answer: str
    images: Path | None = None  # CSV with the column image_id or sha256; None: there is no list

    @property
    def had_seen(self) -> bool:
        """Return whether the model is known to have seen data of the hospital."""
        return self.answer not in (NO, UNKNOWN)

    @classmethod
    def parse(cls, raw: Any, folder: Path, where: str) -> dict[str, Self]:
        """Return {hospital: what the model had seen of it} from the value of the key `seen`.

        `raw` is one answer for all hospitals, or a block that maps names of cohorts to an answer or to {answer, images}.
        The key OTHERS has the answer for all other hospitals; without this key, the answer is `unknown`. Paths are
        relative to `folder`. Raises ConfigError for anything else.
        """
        block = raw if isinstance(raw, Mapping) else {OTHERS: raw}
        seen = {str(name): cls(*_one(value, folder, f"{where}.{name}")) for name, value in block.items()}
        return {OTHERS: cls(UNKNOWN)} | seen

    @staticmethod
    def check_names(seen: Iterable[str], known: Sequence[str], where: str) -> None:
        """Raise ConfigError for a hospital in `seen` that is not one of the known names of cohorts and layouts."""
        for name in seen:
            if name not in (*known, OTHERS):
                fix = f"{ConfigError.hint(name, known)}choose from: {', '.join((*known, OTHERS))}"
                raise ConfigError(f"no cohort {name!r}", where, fix)


def _one(raw: Any, folder: Path, where: str) -> tuple[str, Path | None]:
    """Return the answer for one hospital, and the path of its list or None."""
    if not isinstance(raw, Mapping):
        return _answer(raw, where), None
    ConfigError.known_keys(raw, ("answer", "images"), where)
    answer = _answer(raw.get("answer"), where)
    if not raw.get("images"):
        return answer, None
    if answer in (NO, UNKNOWN):
        fix = "write `answer: images`, `labels` or `text`, or remove the list"
        raise ConfigError(f"the answer {answer!r} has no list of images", where, fix)
    return answer, folder / str(raw["images"])


def _answer(raw: Any, where: str) -> str:
    answer = NO if raw is False else str(raw)  # YAML reads an unquoted `no` as False
    if answer not in ANSWERS:
        raise ConfigError(f"unknown answer {raw!r}", where, f"choose from: {', '.join(ANSWERS)}")
    return answer
