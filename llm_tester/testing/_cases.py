"""Cases as tests: one item for each case, provider and model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ._session import TALLY, again, case_providers, check_used, failure, guarded, least_accuracy, max_age

if TYPE_CHECKING:
    from ..runs.results import CaseResult
    from ..runs.units import Unit

__all__ = ["CaseFile", "CaseItem"]

_LONGEST_SHOWN = 200


class CaseFile(pytest.Module):
    """The `model.py` of a module of cases; a module for fixtures of that scope, which is not imported as one."""

    obj = None

    def collect(self) -> Iterator[CaseItem]:
        """One item for each case, provider and model."""
        from ..errors import LLMTesterError
        from ..llm_tester import LLMTester

        directory = self.path.parent
        try:
            tester = LLMTester(case_providers(self.config), directory.parent)
            units = tester.units([directory.name], record=self.config.getoption("llm_record") or "none")
        except LLMTesterError as error:
            raise self.CollectError(str(error)) from None
        if problems := tester.manager.initialization_errors:
            raise self.CollectError("\n".join(problems.values()))
        for unit in units:
            name = f"{unit.case.title}[{unit.provider}:{unit.model}]"
            yield CaseItem.from_parent(self, name=name, unit=unit)


def _fixtures(llm_cassette_dir: str | Path, _llm_customs: None) -> None:
    """Names the fixtures of a case."""


class CaseItem(pytest.Function):
    """A case with one provider and model; passes if the reply is a valid instance and accurate enough."""

    def __init__(self, *, unit: Unit, **kwargs: Any) -> None:
        super().__init__(callobj=_fixtures, **kwargs)
        self.unit = unit
        facts = {"module": unit.case.module, "case": unit.case.title, "provider": unit.provider, "model": unit.model}
        self.add_marker(pytest.mark.llm_case(**facts))

    @property
    def id(self) -> Any:
        """Its structured id; pytest 9.2 finds it by what it reads in `nodeid`, where the brackets are parameters."""
        return type(super().id).parse(self.nodeid)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Its file, and the headline of its failure."""
        return self.path, 0, f"{self.unit.case.module}/{self.name}"

    def runtest(self) -> None:
        """Runs the case. Fails below the wanted accuracy, and skips if there is no key to record with."""
        from ..runs.units import unused_interactions

        self.unit = self.unit.model_copy(update={"cassettes": Path(str(self.funcargs["llm_cassette_dir"]))})
        command, result = again(self, "rewrite"), self._run(self.unit.record)
        if result.error == "MissingKeyError" and self.unit.record == "new_episodes" and self.unit.path.is_file():
            # What is recorded needs none.
            result = self._run("none")
        if result.error == "MissingKeyError":
            pytest.skip(f"cannot be recorded without a key: {result.problem}")
        if result.error == "CassetteMismatch" and not self.unit.path.is_file():
            raise failure(f"not recorded: there is no {self.unit.path}\nto record it: {again(self, 'once')}")
        self._report(result)
        least = least_accuracy(self.config)
        wanted = least.get(self.unit.case.module, least[""])
        if result.status != "ok" or result.accuracy is None or result.accuracy < wanted:
            raise failure(f"{_explained(result, wanted)}\nto record again: {command}")
        if self.config.getoption("llm_fail_on_unused") and result.usage and result.usage.replayed:
            check_used(self.unit.path, unused_interactions(self.unit), command)

    def _run(self, mode: str) -> CaseResult:
        from ..runs.units import run_unit

        with guarded(self.config, may_record=mode != "none"):
            return run_unit(self.unit.model_copy(update={"record": mode}))[-1]

    def _report(self, result: CaseResult) -> None:
        usage, tally = result.usage, self.config.stash[TALLY]
        tally.add_result(result, max_age(self.config))
        if result.accuracy is not None:
            tally.accuracies[self.nodeid] = result.accuracy
        if usage is None:
            return
        cost = "unknown" if usage.total_cost is None else usage.total_cost
        facts = {"accuracy": result.accuracy, "tokens": usage.total_tokens, "cost": cost}
        self.user_properties += [*facts.items(), ("origin", result.source_of_reply)]


def _explained(result: CaseResult, wanted: float) -> str:
    """Why a case failed: the score, what is wrong, each field that differs, and the reply's origin."""
    score = "no reply" if result.accuracy is None else f"accuracy {result.accuracy:.1f}, wanted {wanted:g}"
    lines = [f"{result.title}, {result.column}: {score}, {result.status}"]
    lines += [result.problem] if result.problem else []
    lines += [str(result.counts)] if result.fields else []
    for item in result.fields:
        if item.score < 1:
            values = f"expected {_shown(item.expected)}, found {_shown(item.actual)}"
            lines.append(f"  {item.path}: {values}, score {item.score:.2f} ({item.note}; rule: {item.rule})")
    if result.usage:
        lines.append(f"reply: {result.source_of_reply}" + (f", {result.cassette}" if result.cassette else ""))
    return "\n".join(lines)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}… ({len(text)} characters)"
