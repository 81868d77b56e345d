"""The results as JUnit XML, for the test reports of CI services."""

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from ..runs.results import CaseResult, RunResult

__all__ = ["MARK", "render"]

# Characters that XML 1.0 does not allow; a reply may contain them.
_UNWRITABLE = re.compile("[^\\t\\n\\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

MARK = '<testsuites name="llm_tester"'


def render(run: RunResult, fail_under: float | None = None, regressions: Sequence[str] = ()) -> str:
    """The results as JUnit XML.

    Args:
        run: the results.
        fail_under: the accuracy below which a result is a failure, 0 to 100; None for no limit.
        regressions: a line for each regression from the baseline; each becomes a failure.

    Returns:
        The XML, with a suite for each provider and model, and a test case for each case and repeat.
    """
    root = ElementTree.Element("testsuites", name="llm_tester")
    suites: dict[str, ElementTree.Element] = {}
    for result in run.results:
        suite = suites.get(result.column)
        if suite is None:
            suite = suites[result.column] = ElementTree.SubElement(root, "testsuite", name=_clean(result.column))
        _case(suite, result, fail_under)
    if regressions:
        suite = suites["baseline"] = ElementTree.SubElement(root, "testsuite", name="baseline")
        for line in regressions:
            case = ElementTree.SubElement(suite, "testcase", name=_clean(line), classname="baseline")
            ElementTree.SubElement(case, "failure", message=_clean(line))
    for suite in suites.values():
        for kind, name in (("testcase", "tests"), ("*/failure", "failures"), ("*/error", "errors")):
            suite.set(name, str(len(suite.findall(kind))))
        suite.set("skipped", str(len(suite.findall("*/skipped"))))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, result: CaseResult, fail_under: float | None) -> None:
    name = result.title if result.repeat == 1 else f"{result.title} #{result.repeat}"
    seconds = result.usage.elapsed_seconds if result.usage else 0.0
    case = ElementTree.SubElement(suite, "testcase", name=_clean(name), classname=_clean(result.column))
    case.set("time", f"{seconds:.3f}")
    if result.status in ("failed", "skipped"):
        # A skipped call is an error too: CI must not show an unchecked case as passed.
        message = _clean(result.explanation or "")
        ElementTree.SubElement(case, "error", type=result.error or result.status, message=message)
    elif fail_under is not None and (result.accuracy or 0.0) < fail_under:
        wrong = "\n".join(
            f"{field.path}: expected {field.expected!r}, found {field.actual!r} ({field.note}; rule: {field.rule})"
            for field in result.fields
            if field.score < 1
        )
        failure = ElementTree.SubElement(case, "failure")
        failure.set("message", f"accuracy {result.accuracy or 0.0:.1f}, expected at least {fail_under:g}")
        failure.text = _clean("\n".join(part for part in (result.problem, str(result.counts or ""), wrong) if part))


def _clean(text: str) -> str:
    return _UNWRITABLE.sub("\ufffd", text)
