"""A run: one configuration with everything that determines its weights, and its id."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bench.config.preprocessing_ops import geometry, input_size, learned_op, padded
from bench.config.registry import Entry, Registry
from bench.config.run_config import SECTION_OF, RunConfig, differing, from_dict
from bench.config.run_names import RunName
from bench.store.file_integrity import file_sha256, is_intact
from bench.store.store import Store, canonical_json, short_hash
from harmonize.errors import ConfigError, SetupError, StoreError

if TYPE_CHECKING:
    from harmonize.images.pixels import Geometry  # this module imports OpenCV


# part of the run id; increase this number if a change of the training code may change weights
TRAINING_VERSION = 1
TRAINED = ("model.safetensors", "trained.json", "history.parquet")  # files that training writes
PANEL = "one network per finding"  # name of a panel
CHOSEN = "best label source per finding"  # name of a panel that chooses among networks of several label sources


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One run: its configuration, with the registry entries and the starting weights that the configuration names."""

    id: str  # first 12 hex digits of the SHA-256 of `document`
    config: RunConfig
    entries: Mapping[str, Entry]  # field of the configuration (architecture, optimizer, ...) -> its registry entry
    document: bytes  # canonical JSON, stored as run.json
    weights_file: Path | None  # file of the starting weights; None for random weights and for weights of timm's hub

    @classmethod
    def of(cls, config: RunConfig, registry: Registry, internal_id: str, weights_dir: Path | None) -> Self:
        """Return the run of a configuration, with its registry entries, starting weights and id.

        `internal_id`, the id of the training cohort, is part of the run id, so phantom and real data never share a run.
        Raises SetupError if the file of starting weights is missing or has another SHA-256 than its registry entry
        states, and for weights of timm's hub without a tag. Given features, and the output layer of an extension, change the
        entry of the architecture.
        """
        entries = {key: registry.find(section, getattr(config, key), key) for key, section in config.named.items()}
        weights_file, weights_id = starting_weights(
            entries["architecture"], entries["weights"], weights_dir, registry.path
        )
        entry, of_head = entries["architecture"], {}
        if given := entry.given_features:
            entry = given.with_width(entry, config, weights_dir, registry.path)
            weights_id = given.identity(entry)
        if config.added_head:
            of_head[config.head], entry = config.added_head.stated(config, entry, weights_dir, registry.path)
        entries["architecture"] = entry
        document = canonical_json(
            {
                **of_head,
                "schema": 1,
                "config": differing(config),
                "entries": {key: entry.identity for key, entry in entries.items()},
                "internal": internal_id,
                "weights": weights_id,
                "training": TRAINING_VERSION,
            }
        )
        return cls(short_hash(document), config, entries, document, weights_file)

    @staticmethod
    def names(runs: Sequence["RunSpec"]) -> dict[str, RunName]:
        """Return {run id: name}. A name has the settings in which these runs differ."""
        return dict(zip([run.id for run in runs], RunName.among([run.config.settings for run in runs]), strict=True))

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """Return the values of the keys `size`, `fit` and `ops` of the preprocessing entry."""
        return self.entries["preprocessing"].facts

    @property
    def geometry(self) -> "Geometry":
        """Return the preprocessing steps before the image cache: size, fit, region crop and CLAHE."""
        return geometry(self.preprocessing)

    @property
    def input_size(self) -> int:
        """Return the side in pixels of the network's input."""
        return input_size(self.preprocessing)

    @property
    def padded(self) -> bool:
        """Return whether gray value 0 of the cached images means padding, as in a letterbox."""
        return padded(self.preprocessing)

    @property
    def histogram_op(self) -> str | None:
        """Return the preprocessing op that learns a histogram of the internal training images, or None."""
        return learned_op(self.preprocessing.get("ops", ()))

    def is_trained(self, store: Store) -> bool:
        """Return whether the weights of the run are stored."""
        folder = store.run_dir(self.id)
        try:
            same = (folder / "run.json").read_bytes() == self.document
        except OSError:
            return False
        return same and all(is_intact(folder / name) for name in TRAINED)

    @property
    def starts_from_hub(self) -> bool:
        """Return whether training starts from weights of timm's hub."""
        return self.config.weights == "imagenet" and self.weights_file is None

    @property
    def weights_entry(self) -> Entry:
        """Return the registry entry that describes the starting weights (license, images of pretraining, exposure).

        If the entry of the weights names a file, the result is this entry. If not, and for an imported model, the result
        is the entry of the architecture.
        """
        weights = self.entries.get("weights")
        return weights if weights and "file" in weights.facts else self.entries["architecture"]

    @property
    def has_given_vectors(self) -> bool:
        """Return whether the features of the run are tables of vectors, so that no network reads images."""
        return self.entries["architecture"].given_features is not None

    @property
    def group_column(self) -> str:
        """Return the column whose values are the groups of the training images; "" if the algorithm uses no groups."""
        return self.config.groups if self._has("groups") else ""

    @property
    def compares_groups(self) -> bool:
        """Return whether the algorithm compares the groups of each batch."""
        return self._has("groups")

    def _has(self, fact: str) -> bool:
        algorithm = self.entries.get("algorithm")
        return algorithm is not None and bool(algorithm.facts.get(fact))

    @property
    def states(self) -> int:
        """Return the number of outputs per finding: 3 if the run learns "uncertain" as a separate class, else 1."""
        return int(self.entries["uncertainty"].facts.get("states", 1))


def starting_weights(
    architecture: Entry, weights: Entry, folder: Path | None, registry_path: Path
) -> tuple[Path | None, str]:
    """Return the file of starting weights, and a text that identifies the weights in the run id.

    The file is None for random weights and for weights of timm's hub. `weights` is an entry of the registry section
    `weights`. `folder` is the folder of --weights, or None. Raises SetupError if the file is missing or has another
    SHA-256 than its entry states, and for weights of the hub without a tag.
    """
    if weights.name == "none":
        return None, "none"
    if "file" in weights.facts:
        file = path_of_entry(weights, "file", folder, registry_path)
        if not file.is_file():
            raise SetupError(f"no starting weights {weights.name}", str(file), "put the file there, or correct `file:`")
        stated = str(weights.facts.get("sha256", _sha256(file)))
        if stated != _sha256(file):
            fix = "get the file again, or correct `sha256:` of its registry entry"
            raise SetupError(f"the file does not have the SHA-256 {stated}", str(file), fix)
        return file, f"sha256:{_sha256(file)}"
    name = str(architecture.options.get("name", architecture.name))
    if folder is None:
        if "." not in name:  # a name without a tag would let each version of timm select other weights
            fix = f"name the tag, e.g. timm:{name}.TAG, or put {name}.safetensors under --weights DIR"
            raise SetupError(f"{architecture.name} has no tag for its starting weights", "weights: imagenet", fix)
        return None, f"hub:{name}"
    file = weights_path(architecture, folder)
    if not file.is_file():
        fix = f"put {file.name} there, or leave --weights out to fetch {name} from timm's hub"
        raise SetupError(f"no starting weights for {architecture.name}", str(file), fix)
    return file, f"sha256:{_sha256(file)}"


def path_of_entry(
    entry: Entry, key: str, folder: Path | None, registry_path: Path, exists: Callable[[Path], bool] = Path.is_file
) -> Path:
    """Return the path that a key of a registry entry names.

    A relative path begins at `folder`, the folder of --weights, if it exists there; else at the folder of the registry file.
    """
    name = str(entry.facts[key])
    if folder is not None and exists(folder / name):
        return folder / name
    return registry_path.parent / name


def weights_path(architecture: Entry, folder: Path) -> Path:
    """Return the path of the file with the ImageNet weights of an architecture in a folder of weights."""
    name = str(architecture.options.get("name", architecture.name))
    return folder / str(architecture.facts.get("imagenet", f"{name}.safetensors"))


def read_run(store: Store, run_id: str) -> RunSpec:
    """Return a trained run from its run.json alone; neither registry nor data are needed.

    Raises StoreError for a derived run or an imported model, and for a run.json that is missing, damaged or of another
    version.
    """
    path = store.run_dir(run_id) / "run.json"
    content = store.read_json(str(path.relative_to(store.root)))
    if content.get("kind") == "external":
        fix = "use its model.yaml: `bench evaluate --model` predicts again"
        what = f"run {run_id} was trained elsewhere: the store has its predictions, not its network"
        raise StoreError(what, str(path), fix)
    if "kind" in content:
        fix = f"name one of the runs that it combines: {', '.join(map(str, content.get('sources', [])))}"
        raise StoreError(f"run {run_id} is derived ({content['kind']}): it has no network of its own", str(path), fix)
    return parse_run(content, run_id, str(path))


def parse_run(content: Mapping[str, Any], run_id: str, where: str) -> RunSpec:
    """Return the trained run that the content of a run.json describes.

    `where` is the path of the run.json, for errors. Raises StoreError if another version wrote the content, or if the
    hash of the content is not the run id.
    """
    try:
        config = from_dict(RunConfig, content["config"], where)
        entries = {}
        for key, entry in content["entries"].items():
            facts = {k: v for k, v in entry.items() if k not in {"use", "with", "version"}}
            name = str(getattr(config, key))
            entries[key] = Entry(
                SECTION_OF[key], name, entry["use"], entry["with"], facts, name, version=entry["version"]
            )
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        fix = "predict with the version that trained it, or train it again"
        raise StoreError(f"run {run_id} cannot be read: {error}", where, fix) from error
    document = canonical_json(content)
    if short_hash(document) != run_id:
        raise StoreError("run.json does not match the run id", where, "run the grid again")
    return RunSpec(run_id, config, entries, document, None)


@cache
def _sha256(file: Path) -> str:
    """Return the hash of a file of starting weights, computed once per process."""
    return file_sha256(file)
