"""Count the stops, files and climbs of a reader who follows the calls of a function through the code.

    python scripts/call_journey.py bench.cli.main.run bench.runs.run_one.run_one
    python scripts/call_journey.py --root OTHER_CHECKOUT --steps bench.runs.run_one.run_one

The journey visits the project's own functions in the order of their calls, depth first, and each function once.

stops   public functions on the way; a private function belongs to the stop that calls it
files   modules with a stop
climbs  steps from one stop to the next that go back to a package that had been left (`bench.store`, `reports`, ...)

Calls are read from the source (`ast`): `function()` and `module.function()`. Methods, constructors and functions that are looked
up while the program runs (executors, registry entries) are not followed.
"""

import argparse
import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = ("bench", "reports", "harmonize")
FunctionKey = tuple[str, str]  # module, name


@dataclass(frozen=True)
class Module:
    """The functions of a module and the names that it imports."""

    functions: Mapping[str, ast.FunctionDef]
    # name in this module -> (module, name in that module); the second name is "" for an imported module
    imports: Mapping[str, tuple[str, str]]


@dataclass
class Journey:
    """The stops of a journey in their order."""

    stops: list[FunctionKey] = field(default_factory=list)

    @property
    def files(self) -> int:
        """Return the number of modules with a stop."""
        return len({module for module, _ in self.stops})

    def steps(self) -> Iterator[tuple[FunctionKey, bool]]:
        """Yield each stop, and whether the step to it is a climb."""
        visited: set[str] = set()
        last = ""
        for module, name in self.stops:
            package = package_of(module)
            yield (module, name), package != last and package in visited
            visited.add(package)
            last = package

    @property
    def climbs(self) -> int:
        """Return the number of steps back to a package that had been left."""
        return sum(climb for _, climb in self.steps())


def package_of(module: str) -> str:
    """Return the package of a module: two levels of the name for modules of bench, one level for other modules.

    >>> package_of("bench.runs.run_one"), package_of("harmonize.images.roi")
    ('bench.runs', 'harmonize')
    """
    top, *rest = module.split(".")
    return ".".join([top, *rest[:1]]) if top == "bench" else top


def read_modules(root: Path) -> dict[str, Module]:
    """Return the modules of the packages below a checkout, by name."""
    modules = {}
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        modules[name] = Module(functions, dict(imported_names(tree.body)))
    return modules


def imported_names(nodes: list[ast.stmt]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each name that these statements import from the project, with the module and the name in that module.

    The second name is "" for an imported module.
    """
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            yield from ((alias.asname or alias.name, (node.module, alias.name)) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.asname, (alias.name, "")) for alias in node.names if alias.asname)


def called(modules: Mapping[str, Module], module: str, function: ast.FunctionDef) -> Iterator[FunctionKey]:
    """Yield the project's functions that a function calls; calls inside the arguments of a call come before this call."""
    statements = [node for node in ast.walk(function) if isinstance(node, ast.stmt)]
    imports = {**modules[module].imports, **dict(imported_names(statements))}
    for call in in_order(function):
        names = ast.unparse(call.func).split(".") if isinstance(call.func, ast.Name | ast.Attribute) else []
        if len(names) == 1 and names[0] in modules[module].functions:
            yield module, names[0]
        elif names and names[0] in imports and len(names) <= 2:
            origin, name = imports[names[0]]
            if len(names) == 2:
                origin, name = ".".join(filter(None, (origin, name))), names[1]
            if key := defined(modules, origin, name):
                yield key


def defined(modules: Mapping[str, Module], module: str, name: str) -> FunctionKey | None:
    """Return the defining module and name of a function that a module defines or imports.

    Returns None if the name is no function of the project.
    """
    while module in modules:
        if name in modules[module].functions:
            return module, name
        if name not in modules[module].imports:
            break
        module, name = modules[module].imports[name]
    return None


def in_order(node: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls below a node, in the order in which they end."""
    for child in ast.iter_child_nodes(node):
        yield from in_order(child)
    if isinstance(node, ast.Call):
        yield node


def follow(modules: Mapping[str, Module], start: str) -> Journey:
    """Return the journey that begins at the function `start`, written as MODULE.FUNCTION.

    Raises SystemExit if `start` is no function of the project.
    """
    module, _, name = start.rpartition(".")
    if module not in modules or name not in modules[module].functions:
        raise SystemExit(f"{start} is not a function of {', '.join(PACKAGES)}. Name it as MODULE.FUNCTION.")
    journey, visited = Journey(), set[FunctionKey]()

    def visit(key: FunctionKey) -> None:
        visited.add(key)
        if not key[1].startswith("_"):
            journey.stops.append(key)
        for callee in called(modules, key[0], modules[key[0]].functions[key[1]]):
            if callee not in visited:
                visit(callee)

    visit((module, name))
    return journey


def main() -> None:
    """Print a row of counts for each function."""
    parser = argparse.ArgumentParser(description="Count the stops, files and climbs of the calls of a function.")
    parser.add_argument("functions", nargs="+", metavar="MODULE.FUNCTION")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="the checkout to read")
    parser.add_argument("--steps", action="store_true", help="print every stop; ^ marks a climb")
    options = parser.parse_args()
    modules = read_modules(options.root)
    print(f"{'function':<44}{'stops':>6}{'files':>6}{'climbs':>7}")
    for function in options.functions:
        journey = follow(modules, function)
        print(f"{function:<44}{len(journey.stops):>6}{journey.files:>6}{journey.climbs:>7}")
        for (module, name), climb in journey.steps() if options.steps else ():
            print(f"  {'^' if climb else ' '} {module}.{name}")


if __name__ == "__main__":
    main()
