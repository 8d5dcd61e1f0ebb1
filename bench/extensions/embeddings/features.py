"""Architectures with the key `embeddings: FOLDER`, which have tables of vectors in place of a network."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmonize.errors import ConfigError, RegistryError

if TYPE_CHECKING:  # this module is imported by every command, so it imports little
    import numpy as np
    from numpy.typing import NDArray

    from bench.config.registry import Entry
    from bench.config.run_config import RunConfig
    from bench.planning.run import RunSpec

KEY = "embeddings"
USE = "bench.extensions.embeddings.network:GivenVectors"


def check_entry(block: Mapping[str, Any], where: str) -> None:
    """Raise RegistryError if a block with the key `embeddings` has other code, too, or names no folder."""
    if others := [key for key in ("use", "timm", "with", "imagenet") if key in block]:
        what = f"`embeddings` and `{others[0]}` are both sources of features"
        raise RegistryError(what, where, f"remove `{others[0]}`: the tables of vectors replace the network")
    if not isinstance(block[KEY], str) or not block[KEY].strip():
        what = f"embeddings must be the name of a folder (got {block[KEY]!r})"
        raise RegistryError(what, where, "write `embeddings: FOLDER`")


def check(config: "RunConfig", where: str) -> None:
    """Raise ConfigError for a run on tables of vectors that would need the network of these vectors."""
    if not config.is_frozen:
        what = f"{config.architecture} has vectors and no network, so only an output layer can be trained"
        raise ConfigError(what, f"{where}.head", "set `head: probe`, or `head: prompts`")
    if config.weights != "none":
        what = f"{config.architecture} has vectors and no network, so it has no starting weights"
        raise ConfigError(what, f"{where}.weights", "set `weights: none`")


def with_width(architecture: "Entry", config: "RunConfig", weights_dir: Path | None, registry_path: Path) -> "Entry":
    """Return the entry with the number of features as the option `width`, and the path of the folder with the tables."""
    from bench.extensions.embeddings.tables import EmbeddingTables  # imports pandas

    tables = EmbeddingTables.of(architecture, weights_dir, registry_path)
    options, facts = {"width": tables.width(config.train_on)}, {**architecture.facts, KEY: str(tables.folder)}
    return replace(architecture, options=options, facts=facts)


def identity(architecture: "Entry") -> str:
    """Return a text that identifies the vectors in the run id. `architecture`: as `with_width` returns it."""
    from bench.extensions.embeddings.tables import EmbeddingTables

    return f"embeddings:{EmbeddingTables.of(architecture, None, Path()).sha256}"


def check_tables(runs: "Sequence[RunSpec]", internal: str, images: Mapping[str, Sequence[str]]) -> None:
    """Check the tables of all planned runs on vectors. `images`: cohort -> ids of its images.

    Raises DatasetError as `EmbeddingTables.check` does.
    """
    from bench.extensions.embeddings.tables import EmbeddingTables

    entries = [run.entries["architecture"] for run in runs if run.entries["architecture"].use == USE]
    for tables in dict.fromkeys(EmbeddingTables.of(entry, None, Path()) for entry in entries):
        tables.check(internal, images)


def of_images(architecture: "Entry", cohort: str, image_id: Sequence[str]) -> "NDArray[np.float32]":
    """Return the vectors [N, D] of images of a cohort. Raises DatasetError if images have no vector."""
    from bench.extensions.embeddings.tables import EmbeddingTables

    return EmbeddingTables.of(architecture, None, Path()).of_images(cohort, image_id)
