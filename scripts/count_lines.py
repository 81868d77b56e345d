"""Prints how much code the package has, by wing. Blank lines, comments and docstrings are not counted.

    python scripts/count_lines.py              # one line per wing
    python scripts/count_lines.py --files      # one line per module as well
    python scripts/count_lines.py --functions  # the length of functions as well: median, 90th percentile, longest

CONTRIBUTING.md quotes the figures.
"""

import ast
import io
import statistics
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "llm_tester"
# What it takes to call a provider: the wings and the top-level modules of the wrapper.
WRAPPER = {"llms", "utils", "config", "settings", "usage", "pricing", "catalog", "tokens", "errors"}
NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def docstring_lines(node: ast.AST) -> range:
    """The lines of the docstring of a module, class or function."""
    body = getattr(node, "body", None)
    first = body[0] if isinstance(body, list) and body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return range(first.lineno, (first.end_lineno or first.lineno) + 1)
    return range(0)


def code_lines(text: str) -> int:
    """The number of lines of a module that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - {line for node in ast.walk(ast.parse(text)) for line in docstring_lines(node)})


def function_lengths(text: str) -> Iterator[int]:
    """The length of each function in lines, without its docstring."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1 - len(docstring_lines(node))


def wing_of(path: Path) -> str:
    """The wing of a module, or "(top)" for a module next to the wings."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else "(top)"


def is_wrapper(path: Path) -> bool:
    """Whether a module belongs to the wrapper."""
    return Path(path.relative_to(PACKAGE).parts[0]).stem in WRAPPER


def main() -> None:
    """Prints the counts that the arguments ask for."""
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if wing_of(path) != "template"]
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    counts = {path: code_lines(text) for path, text in texts.items()}
    wings: Counter[str] = Counter()
    for path, count in counts.items():
        wings[wing_of(path)] += count
        if "--files" in sys.argv:
            print(f"{count:6}  {path.relative_to(PACKAGE)}")
    for wing, count in sorted(wings.items()):
        print(f"{count:6}  {wing}")
    wrapper = sum(count for path, count in counts.items() if is_wrapper(path))
    print(f"{wings.total():6}  in all, of which {wrapper} are the wrapper ({', '.join(sorted(WRAPPER))})")
    if "--functions" in sys.argv:
        lengths = sorted(length for text in texts.values() for length in function_lengths(text))
        ninetieth = lengths[int(len(lengths) * 0.9)]
        median = statistics.median(lengths)
        print(f"functions: {len(lengths)}, median {median:g}, 90th percentile {ninetieth}, longest {lengths[-1]}")


if __name__ == "__main__":
    main()
