"""The unit of work: a case with a model. What it would do, the command that does it again, and doing it."""

import json
import os
import shlex
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from ..cassettes import Cassette, Interaction, RecordMode, cassette_path, use_cassette
from ..cassettes.cassette import check_mode
from ..errors import BudgetError, CaseError, ConfigError, LLMTesterError, ProviderError
from ..llms import llm_registry
from ..llms.ask import ask
from ..llms.base import BaseLLM
from ..pricing import estimate_tokens
from ..settings import activate, settings
from ..usage import expecting
from .cases import Case
from .extraction import extract
from .results import CaseResult
from .scoring import compare

__all__ = ["Plan", "Unit", "plan", "run_unit", "under_ci", "unused_interactions"]


class Unit(BaseModel):
    """A case with a model. Importable, picklable, and it needs nothing but the config file.

    Attributes:
        case: the case.
        provider: the provider's name.
        model: the model.
        record: `auto` or a record mode.
        cassettes: the directory of the recordings.
        repeats: how often to run it.
        config: the global config file, None if there is none.
        options: further options that the command of a message needs, such as `--cases DIR`.
    """

    model_config = ConfigDict(frozen=True)

    case: Case
    provider: str
    model: str
    record: str = "auto"
    cassettes: Path
    repeats: int = 1
    config: Path | None = None
    options: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[str, str, str, str, str]:
        """Module, case, variant, provider and model."""
        return self.case.module, self.case.name, self.case.variant, self.provider, self.model

    @property
    def path(self) -> Path:
        """The unit's cassette."""
        return cassette_path(self.cassettes, self.case.module, self.case.title, self.provider, self.model)

    def command(self, mode: str) -> str:
        """The command that runs this unit alone in a record mode, from the working directory."""
        parts = ["llm-tester", "run", "-m", self.case.selector, "-p", f"{self.provider}:{self.model}"]
        if self.config and self.config != Path.cwd() / "config.json":
            parts += ["--config", os.path.relpath(self.config)]
        parts += [*self.options, *(["--repeat", str(self.repeats)] if self.repeats > 1 else []), "--record", mode]
        return shlex.join(parts)


def under_ci() -> bool:
    """Whether the environment variable `CI` says that this is a CI run."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false", "no")


class Plan(NamedTuple):
    """What a unit would do.

    Attributes:
        skip: why it cannot be run; None if it can.
        mode: the record mode of its cassette; None if it uses none.
        live: how many of its repeats would be sent to the provider.
        note: what a failing result should add, such as that the recording is of a failure; None if nothing.
    """

    skip: str | None
    mode: RecordMode | None
    live: int
    note: str | None = None


class _Recorded(NamedTuple):
    """What a unit's cassette holds: the usable replies, and the dates of the failures."""

    usable: int
    failures: list[str]


def _recorded(path: Path) -> _Recorded | None:
    """What is recorded for a unit; None if there is no file."""
    if not path.is_file():
        return None
    interactions = Cassette(path).interactions
    failures = [str(item.recorded.get("at", "an unknown date"))[:10] for item in interactions if item.is_failure]
    usable = [item for item in interactions if not item.is_failure]
    # A call may take several requests; the last of them says whose call it was.
    calls = sum("provider" in item.recorded for item in usable)
    return _Recorded(calls or len(usable), failures)


def plan(unit: Unit, provider: BaseLLM) -> Plan:
    """Decides how a unit gets its replies.

    Raises:
        CassetteError: its cassette cannot be read.
    """
    if not provider.uses_http:
        return Plan(None, None, unit.repeats)
    recorded = _recorded(unit.path)
    missing = max(0, unit.repeats - recorded.usable) if recorded else unit.repeats
    if unit.record == "auto":
        return _plan_auto(unit, provider, recorded, missing)
    mode = check_mode(unit.record)
    if mode == "new_episodes":
        return Plan(None, mode, missing)
    replays = mode == "none" or (mode == "once" and recorded is not None)
    return Plan(None, mode, 0 if replays else unit.repeats, _failure_note(unit, recorded) if replays else None)


def _plan_auto(unit: Unit, provider: BaseLLM, recorded: _Recorded | None, missing: int) -> Plan:
    """Replays what is recorded, and calls the rest if a key is set and this is no CI run."""
    no_key = provider.missing_key(unit.model)
    if not under_ci() and not no_key:
        return Plan(None, "new_episodes" if missing else "none", missing)
    if recorded is not None:
        return Plan(None, "none", 0, _failure_note(unit, recorded))
    why = "under CI nothing is called" if under_ci() else f"there is no key: {no_key}"
    return Plan(f"not recorded, and {why}", None, 0)


def _failure_note(unit: Unit, recorded: _Recorded | None) -> str | None:
    """What to add to an error that comes from a recording of an error."""
    if recorded is None or not recorded.failures:
        return None
    return f"replayed failure of {recorded.failures[-1]}; to record: {unit.command('new_episodes')}"


def run_unit(unit: Unit) -> tuple[CaseResult, ...]:
    """Runs one unit; a call that fails becomes a result.

    Returns:
        A result for each repeat.
    """
    activate(unit.config)
    results: list[CaseResult] = []
    try:
        provider = llm_registry.get_llm_provider(unit.provider)
        if provider is None:
            raise ConfigError(f"there is no provider {unit.provider!r}")
        provider.resolve(unit.model)
        planned = plan(unit, provider)
        if planned.skip:
            told: dict[str, Any] = {"problem": planned.skip, "command": unit.command("once")}
            return tuple(CaseResult(**_place(unit, number), status="skipped", **told) for number in _repeats(unit))
        with _opened(unit, planned, provider) as cassette:
            for number in _repeats(unit):
                results.append(_run_once(unit, number, provider, cassette, planned.note))
    except LLMTesterError as error:
        # The cassette itself cannot be used, so no further repeat can be run.
        results += [_failed(unit, number, error) for number in _repeats(unit)[len(results) :]]
    return tuple(results)


def _opened(unit: Unit, planned: Plan, provider: BaseLLM) -> AbstractContextManager[Cassette | None]:
    if planned.mode is None:
        return nullcontext()
    ignore = (*settings().config.ignore, *provider.config.ignore)
    return use_cassette(unit.path, planned.mode, origin=provider.config.origin, again=unit.command, ignore=ignore)


def unused_interactions(unit: Unit) -> list[Interaction]:
    """The recorded interactions of a unit that its case does not ask for any more, found by replaying it.

    Raises:
        CassetteError: its cassette cannot be read.
    """
    activate(unit.config)
    provider = llm_registry.get_llm_provider(unit.provider)
    with use_cassette(unit.path) as cassette:
        if provider is not None:
            for number in range(1, len(cassette.interactions) + 1):
                if _run_once(unit, number, provider, cassette, None).error:
                    break
        return cassette.unused()


def _repeats(unit: Unit) -> range:
    return range(1, unit.repeats + 1)


def _run_once(unit: Unit, number: int, provider: BaseLLM, cassette: Cassette | None, note: str | None) -> CaseResult:
    case = unit.case
    try:
        files = case.attachments()
        wanted = case.model_class()
        with expecting(estimate_tokens(json.dumps(case.expected))):
            reply, usage = ask(provider, case.prompt, case.source, unit.model, model_class=wanted, files=files)
        extraction = _extracted(case, reply)
    except LLMTesterError as error:
        return _failed(unit, number, error, note)
    compared = compare(_as_dumped(case), extraction.data)
    problem = extraction.problem
    if problem and usage.finish_reason == "length":
        problem += "\nthe reply was cut at the output limit (finish reason: length)"
    age = cassette.age_days() if cassette and usage.replayed else None
    limit = settings().config.max_age
    return CaseResult(
        **_place(unit, number),
        status="ok" if problem is None else "invalid",
        accuracy=compared.accuracy if problem is None else 0.0,
        fields=tuple(compared.fields),
        problem=problem,
        reply=reply,
        actual=extraction.data,
        usage=usage,
        cassette=str(cassette.path) if cassette else None,
        age_days=age,
        old=age is not None and limit is not None and age > limit,
    )


def _extracted(case: Case, reply: str) -> Any:
    try:
        return extract(reply, case.model_class())
    except Exception as error:
        raise CaseError(
            f"{case.directory / 'model.py'}: its validation raised {type(error).__name__}: {error}; a validator says "
            "that a value is wrong with ValueError"
        ) from error


def _as_dumped(case: Case) -> dict[str, Any]:
    """The expected data in the form that the class dumps it, defaults included, if it is whole enough for that."""
    try:
        return case.model_class().model_validate(case.expected).model_dump(mode="json")
    except ValidationError:
        return case.expected


def _place(unit: Unit, number: int) -> dict[str, Any]:
    case = unit.case
    place = {"module": case.module, "name": case.name, "variant": case.variant, "repeat": number}
    return {**place, "provider": unit.provider, "model": unit.model}


def _failed(unit: Unit, number: int, error: LLMTesterError, note: str | None = None) -> CaseResult:
    status: Literal["failed", "skipped"] = "skipped" if isinstance(error, BudgetError) else "failed"
    told: dict[str, Any] = {"error": type(error).__name__}
    if isinstance(error, ProviderError):
        told |= {"failed_cost": error.failed_cost, "attempts": error.attempts, "unanswered": error.unanswered}
    problem = f"{error}\n{note}" if note and isinstance(error, ProviderError) else str(error)
    return CaseResult(**_place(unit, number), status=status, problem=problem, **told)
