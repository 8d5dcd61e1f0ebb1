"""Find and read grid files, and merge a grid file with the file that it includes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.config.registry import shipped
from harmonize.errors import ConfigError
from harmonize.yaml_file import line_of_key, read_yaml

# Maximum length in bytes of the name of a grid; bundles have the same limit. The name becomes part of file names, and a
# file name with all its suffixes has at most 255 bytes.
MAX_NAME = 80


def check_name(name: str, where: str) -> None:
    """Raise ConfigError unless `name` can be the name of a grid: it becomes part of file names."""
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"invalid name {name!r}", where, "use only letters, digits, - and _")
    if len(name.encode()) > MAX_NAME:
        raise ConfigError(f"the name {name[:20]!r}... is too long", where, f"use at most {MAX_NAME} letters or digits")


def find(name_or_path: str) -> Path:
    """Return the path of a grid file, given its path or the name of a shipped grid.

    Raises ConfigError for an unknown path or name.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        if what := ConfigError.not_a_file(path):
            fix = "give the path of a grid file, or name a shipped grid: `bench list grids`"
            raise ConfigError(what, name_or_path, fix)
        fix = "check the path, or name a shipped grid: `bench list grids`"
        raise ConfigError("the grid file does not exist", name_or_path, fix)
    names = shipped_grids()
    if name_or_path in names:
        return shipped(f"grids/{name_or_path}.yaml")
    fix = f"{ConfigError.hint(name_or_path, names)}shipped grids: {', '.join(names)}; or give the path of a grid file"
    raise ConfigError(f"no grid {name_or_path!r}", "--grid", fix)


def shipped_grids() -> list[str]:
    """Return the names of the shipped grids."""
    return sorted(p.stem for p in shipped("grids/demo.yaml").parent.glob("*.yaml"))


def describe_grids() -> list[tuple[str, str, str]]:
    """Return name, title and `about` of each shipped grid."""
    rows = []
    for name in shipped_grids():
        raw = load(shipped(f"grids/{name}.yaml"))
        rows.append((name, str(raw.get("title", name)), str(raw.get("about", ""))))
    return rows


def load(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the content of a grid file, merged with the content of the files that it includes.

    `base` is merged key by key. Every other key replaces the included key, even if its value is a list (`sweeps`,
    `evaluate_on`, `tta`) or a block (`split`, `phantom`, `expect`). Paths under `references` are relative to the file
    that contains them. `seen`: the files that include `path`; a file that includes itself is an error.
    """
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise ConfigError("the grid file has no keys", str(path), "see grids/demo.yaml for an example")
    if isinstance(raw.get("references"), list):
        raw["references"] = [str(path.parent / str(name)) for name in raw["references"]]
    if "include" not in raw:
        return raw
    parent = path.parent / str(raw["include"])
    if parent.resolve() in (*seen, path.resolve()) or not parent.is_file():
        fix = "name an existing grid file, relative to this one, that does not include this file"
        raise ConfigError(f"cannot include {raw['include']!r}", f"{path}: include", fix)
    inherited = load(parent, (*seen, path.resolve()))
    merged = {**inherited, **{k: v for k, v in raw.items() if k != "include"}}
    if "base" in inherited and "base" in raw:
        merged["base"] = merge(inherited["base"] or {}, raw["base"] or {})
    return merged


def location(path: Path, key: str) -> str:
    """Return file, line and key of a setting, such as `mine.yaml:9: base.schedule.lr`.

    The file is `path`, or the included file that has the key. If no file has the key, the line is that of the block in
    which the key is missing.
    """
    files = [path]
    while "include" in (raw := read_yaml(files[-1])):
        files.append(files[-1].parent / str(raw["include"]))
    # `split` and `limit` may stand at the top level of the file instead of inside `base`
    if key.startswith(("base.split", "base.limit")) and not any(line_of_key(file, key[:10]) for file in files):
        key = key.removeprefix("base.")
    block = key
    while block:
        for file in files:
            if line := line_of_key(file, block):
                return f"{file}:{line}: {key}"
        block = block[: max(block.rfind("."), block.rfind("["), 0)]
    return f"{path}: {key}"


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `under` in which the values of `over` replace its values; nested blocks are merged key by key."""
    out = dict(under)
    for key, value in over.items():
        out[key] = merge(out[key], value) if isinstance(value, Mapping) and isinstance(out.get(key), Mapping) else value
    return out
