"""The layout of the package: imports go one way, modules stay readable, public names are in one place."""

import ast
import graphlib
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

import llm_tester

PACKAGE = ROOT / "llm_tester"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if "template" not in path.relative_to(PACKAGE).parts
}
# A module may import what is in its own wing, and what is to its left; see docs/architecture.md.
WINGS = ["errors", "cassettes", "base", "llms", "utils", "runs", "reports", "llm_tester", "cli", "testing"]
BASE = {"config", "settings", "usage", "pricing", "_price", "_variables", "_version", "catalog", "tokens"}
TOP = {"estimate": "llm_tester", "__main__": "cli"}
MOST_LINES = 400


def wing(module: str) -> str:
    """The wing of a module, by the names of WINGS."""
    first = ([*module.split("."), ""])[1]
    return "base" if first in BASE else TOP.get(first, first)


def nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a module that run; what is imported for annotations alone does not."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"):
            yield from nodes(child)


def imports(path: Path, module: str) -> Iterator[tuple[str, int]]:
    """What a module imports from the package when it is imported, and in which line."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*parts, *([node.module] if node.module else [])])
            for name in node.names:
                full = f"{base}.{name.name}"
                yield (full if full in MODULES else base), node.lineno


GRAPH = {module: set(imports(path, module)) for module, path in MODULES.items()}


@pytest.mark.parametrize("module", [name for name in MODULES if name != "llm_tester"])
def test_imports_go_one_way(module: str) -> None:
    """No module imports from a wing above its own, and nothing imports `testing`."""
    above = set(WINGS[WINGS.index(wing(module)) + 1 :])
    wrong = [f"line {line}: {target}" for target, line in GRAPH[module] if wing(target) in above]
    assert not wrong, f"{module} imports what lies above it: {', '.join(wrong)}"


def test_there_is_no_import_circle() -> None:
    """The modules can be put in an order in which each comes after what it imports."""
    edges = {module: {target for target, _ in found if target != module} for module, found in GRAPH.items()}
    # A package's __init__ re-exports its modules, which import each other directly.
    edges = {module: found for module, found in edges.items() if MODULES[module].name != "__init__.py"}
    graphlib.TopologicalSorter(edges).prepare()


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_too_long(module: str) -> None:
    """A module that does not fit a reader's head is two modules."""
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{module} has {lines} lines"


def test_cassettes_know_nothing_of_the_package() -> None:
    """The recording engine could be a distribution of its own: of the package it imports `errors` only."""
    for module, found in GRAPH.items():
        if wing(module) == "cassettes":
            outside = {target for target, _ in found if wing(target) not in ("cassettes", "errors")}
            assert not outside, f"{module} imports {outside}"


def test_the_public_names_are_sorted_and_importable() -> None:
    """`__all__` lists what users may import from the top level."""
    assert llm_tester.__all__ == sorted(llm_tester.__all__)
    for name in llm_tester.__all__:
        assert getattr(llm_tester, name) is not None


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("llms.base", "BaseLLM ModelConfig ProviderConfig"),
        (
            "llms.provider_factory",
            "create_provider discover_provider_classes load_provider_config validate_provider_implementation "
            "register_provider_class register_external_provider load_external_providers get_available_providers "
            "reset_caches",
        ),
        ("llms.llm_registry", "get_llm_provider discover_providers reset_provider_cache get_provider_info"),
        ("utils.provider_manager", "ProviderManager"),
        ("utils.cost_manager", "UsageData CostTracker"),
        ("llm_tester", "LLMTester"),
        ("testing", "ProviderContract faults"),
    ],
)
def test_the_documented_imports_work(module: str, names: str) -> None:
    """The import paths of the documented interface are fixed."""
    found = importlib.import_module(f"llm_tester.{module}")
    assert not [name for name in names.split() if not hasattr(found, name)]
