"""What is packed: run by `tox -e wheel`. The source archive holds what the wheel is made of, and what installs must find lies in the wheel."""

import subprocess
import sys
import tarfile
import tempfile
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = {  # where it lies in the sources -> where it lies once installed
    "registry.yaml": ("bench", "data/registry.yaml"),
    "grids/demo.yaml": ("bench", "data/grids/demo.yaml"),
    "grids/published/chexnet.yaml": ("bench", "data/grids/published/chexnet.yaml"),
    "harmonize/labels/labels.yaml": ("harmonize.labels", "labels.yaml"),
    "harmonize/checks/published.yaml": ("harmonize.checks", "published.yaml"),
    "reports/templates/page.html.j2": ("reports", "templates/page.html.j2"),
    "bench/extensions/app/page.py": ("bench.extensions", "app/page.py"),
    "bench/py.typed": ("bench", "py.typed"),
    "reports/templates/model_card.md.j2": ("reports", "templates/model_card.md.j2"),
}

for package, name in DATA.values():
    assert (files(package) / name).is_file(), f"the wheel lacks {name}"
    assert ROOT not in Path(str(files(package))).parents or ".tox" in str(files(package)), (
        "not the wheel, but the sources"
    )
with tempfile.TemporaryDirectory() as folder:
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, str(ROOT)]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)  # a wheel of the source archive, as it is released
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *map(str, Path(folder).iterdir())], check=True)
    (archive,) = Path(folder).glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        held = {name.partition("/")[2] for name in packed.getnames()}
wanted = {*DATA, "tests/conftest.py", "docs/tutorial.md", "LICENSE", "README.md", "constraints.txt", "tox.ini"}
assert wanted <= held, f"the source archive lacks {sorted(wanted - held)}"
assert not [name for name in held if name.startswith(("runs/", ".tox", ".venv"))]
print(f"wheel and {archive.name}: complete")
