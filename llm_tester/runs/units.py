"""The unit of work, a case with a model: planning it, running it, and the command to run it alone."""

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from ..cassettes import Cassette, Interaction, RecordMode, cassette_path, check_mode, hooks, live, use_cassette
from ..cassettes.network import Offline, network
from ..cassettes.secrets import Scrubber, default_scrubber
from ..errors import BudgetError, CaseError, CassetteMismatch, ConfigError, LLMTesterError, ProviderError, StoppedError
from ..llms import llm_registry
from ..llms.base import BaseLLM
from ..llms.budget import Limits, expecting
from ..llms.fallback import ask_in_order, candidates
from ..settings import CONFIG_VARIABLE, activate, settings
from ..tokens import rough_tokens
from ..usage import UsageData
from .cases import Case
from .extraction import extract
from .kept import Kept, KeptReply, fingerprint, is_keepable, load_kept, save_kept
from .recording import recording
from .results import CaseResult, OfModel, Place
from .scoring import compare

__all__ = [
    "Plan",
    "Unit",
    "expected_size",
    "limits_of",
    "missing_repeats",
    "plan",
    "results_of",
    "run_unit",
    "skipped",
    "under_ci",
    "unused_interactions",
    "worst_usd",
]


class Unit(OfModel):
    """A case with a model. It can be pickled, and needs nothing but the config file to run.

    Attributes:
        case: the case.
        record: `auto`, `off` or a record mode.
        cassettes: the directory of the recordings.
        repeats: how often to run it.
        first: the first repeat to run; those before it are done.
        config: the global config file; None if there is none.
        options: options to add to the commands in messages, such as `--cases DIR`.
        through_the_wire: whether a recording is replayed even if what it was turned into is kept.
    """

    case: Case
    record: str = "auto"
    cassettes: Path
    repeats: int = 1
    first: int = 1
    config: Path | None = None
    options: tuple[str, ...] = ()
    through_the_wire: bool = False

    @property
    def place(self) -> Place:
        """Module, case, variant, provider and model."""
        return (*self.case.key, self.provider, self.model)

    @property
    def path(self) -> Path:
        """The unit's cassette."""
        return cassette_path(self.cassettes, self.case.module, self.case.title, self.provider, self.model)

    def command(self, mode: str) -> str:
        """The command to run only this unit in a record mode, from the working directory."""
        if self.case.directory is None:
            return f"LLMTester(['{self.column}']).run_tests(cases=[...]) with the record mode {mode}"
        parts = ["llm-tester", "run", "-m", self.case.selector, "-p", self.column]
        if self.config and (os.environ.get(CONFIG_VARIABLE) or self.config != Path.cwd() / "config.json"):
            parts += ["--config", os.path.relpath(self.config)]
        parts += [*self.options, *(["--repeat", str(self.repeats)] if self.repeats > 1 else []), "--record", mode]
        return shlex.join(parts)


def under_ci() -> bool:
    """Whether the environment variable `CI` says that this is a CI run."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false", "no")


class Plan(NamedTuple):
    """How a unit would get its replies.

    Attributes:
        skip: why it cannot run; None if it can.
        mode: the record mode of its cassette; None if it uses none.
        live: how many of its repeats would be sent to the provider.
    """

    skip: str | None
    mode: RecordMode | None
    live: int


def plan(unit: Unit, provider: BaseLLM, *, without_key: bool = False) -> Plan:
    """Decides how a unit gets its replies.

    Args:
        unit: the unit.
        provider: its provider.
        without_key: whether to decide as if the key were set, for an estimate.

    Raises:
        CassetteError: its cassette cannot be read.
    """
    if not provider.uses_http or unit.record == "off":
        return Plan(None, None, len(_repeats(unit)))
    is_recorded = unit.path.is_file()
    if unit.record == "auto":
        no_key = None if without_key else provider.missing_key(unit.model)
        why = "under CI nothing is called" if under_ci() else no_key and f"there is no key: {no_key}"
        if not why:
            missing = missing_repeats(unit)
            return Plan(None, "new_episodes" if missing else "none", missing)
        return Plan(None, "none", 0) if is_recorded else Plan(f"not recorded, and {why}", None, 0)
    mode = check_mode(unit.record)
    if mode == "new_episodes":
        return Plan(None, mode, missing_repeats(unit))
    return Plan(None, mode, 0 if mode == "none" or (mode == "once" and is_recorded) else unit.repeats)


def missing_repeats(unit: Unit) -> int:
    """How many repeats have no usable recording."""
    usable = [item for item in Cassette(unit.path).interactions if not item.is_failure]
    # A call may take several requests; only the last one records the provider.
    calls = sum("provider" in item.recorded for item in usable)
    return max(0, unit.repeats - (calls or len(usable)))


def run_unit(unit: Unit) -> tuple[CaseResult, ...]:
    """Runs one unit, and gives a result for each repeat."""
    return tuple(results_of(unit))


def results_of(unit: Unit) -> Iterator[CaseResult]:
    """Runs one unit; whatever it raises becomes a result.

    Yields:
        A result for each repeat, as soon as it is known.
    """
    left = iter(_repeats(unit))
    try:
        activate(unit.config)
        offline = network.offline(Offline("the record mode is none", settings().config.allow))
        # Nothing may go out by any way if the unit may only replay.
        with offline if unit.record == "none" else nullcontext():
            for result in _run(unit):
                yield result
                next(left)
    except (Exception, CassetteMismatch, SystemExit) as error:  # noqa: BLE001 (each unit fails by itself)
        # The cassette cannot be used, so no other repeat can run.
        for number in left:
            yield _failed(unit, number, error)


def _run(unit: Unit) -> Iterator[CaseResult]:
    provider = llm_registry.get_llm_provider(unit.provider)
    if provider is None:
        raise ConfigError(f"there is no provider {unit.provider!r}")
    provider.resolve(unit.model)
    made_from = _fingerprint(unit, provider)
    kept = load_kept(unit.path, made_from) if made_from and not unit.through_the_wire else None
    if kept and len(kept.replies) >= unit.repeats:
        for number in _repeats(unit):
            yield _of_kept(unit, number, provider, kept)
        return
    planned = plan(unit, provider)
    if planned.skip:
        yield from skipped(unit, planned.skip, unit.command("once"))
        return
    results: list[CaseResult] = []
    may_record = bool(planned.mode and planned.live)
    with recording(unit.path) if may_record else nullcontext():
        if may_record:
            # Another run may have recorded it meanwhile.
            planned = plan(unit, provider)
        with _opened(unit, planned, provider) as cassette:
            for number in _repeats(unit):
                results.append(_run_once(unit, number, provider, cassette))
                yield results[-1]
    if made_from and unit.record != "none" and not under_ci():
        _keep(unit, made_from, results)


def limits_of(unit: Unit, provider: BaseLLM, model: str | None = None) -> Limits:
    """What one live call of a unit can cost; its own model if None."""
    case = unit.case
    with expecting(expected_size(case)):
        return provider.limits(
            case.prompt, case.source, model or unit.model, model_class=case.model_class(), files=case.attachments()
        )


def worst_usd(unit: Unit) -> float | None:
    """The most that one live call of a unit, or of a fallback, may cost, in USD; None if that is unknown."""
    try:
        provider = llm_registry.get_llm_provider(unit.provider)
        asked = candidates(provider, unit.model) if provider else []
        amounts = [limits_of(unit, other.provider, other.model).worst_usd for other in asked]
        return max((usd for usd in amounts if usd is not None), default=None) if None not in amounts else None
    except LLMTesterError:
        return None


def skipped(unit: Unit, problem: str, command: str | None = None) -> tuple[CaseResult, ...]:
    """The results of a unit that is not run.

    Args:
        unit: the unit.
        problem: why it is not run.
        command: the command that records it; None if it does not need a recording.
    """
    return tuple(_result(unit, number, status="skipped", problem=problem, command=command) for number in _repeats(unit))


def _opened(unit: Unit, planned: Plan, provider: BaseLLM) -> AbstractContextManager[Cassette | None]:
    if planned.mode is None:
        return live()
    config, entry = settings().config, provider.config
    ignore = (*config.ignore, *(path for other in candidates(provider) for path in other.provider.config.ignore))
    # A fallback is not the entry's origin; each call writes its own.
    origin = None if entry.fallback else entry.origin
    return use_cassette(unit.path, planned.mode, origin=origin, again=unit.command, ignore=ignore, allow=config.allow)


def unused_interactions(unit: Unit) -> list[Interaction]:
    """The recorded interactions that replaying a unit does not use.

    Raises:
        CassetteError: its cassette cannot be read.
    """
    activate(unit.config)
    provider = llm_registry.get_llm_provider(unit.provider)
    with use_cassette(unit.path) as cassette:
        if provider is not None:
            for number in range(1, len(cassette.interactions) + 1):
                if _run_once(unit, number, provider, cassette).error:
                    break
        return cassette.unused()


def expected_size(case: Case) -> int:
    """About how many tokens a right reply has. A budget reserves them if nothing limits the output."""
    return rough_tokens(json.dumps(case.expected))


def _repeats(unit: Unit) -> range:
    return range(unit.first, unit.repeats + 1)


def _fingerprint(unit: Unit, provider: BaseLLM) -> str | None:
    """What the unit's kept replies must be made from; None if none may be used or kept."""
    if unit.record in ("off", "all", "rewrite") or not is_keepable(provider) or hooks.current() != hooks.Hooks():
        return None
    try:
        return fingerprint(provider, unit.model, unit.case, unit.path)
    except LLMTesterError:
        # The call fails for the same reason, and that becomes the result.
        return None


def _of_kept(unit: Unit, number: int, provider: BaseLLM, kept: Kept) -> CaseResult:
    reply = kept.replies[number - 1]
    values = {"cassette": str(unit.path.absolute()), "kept": True, **_age(unit, kept.age_days)}
    return _judged(unit, number, provider, reply.text, reply.usage, schema_mode=reply.schema_mode, **values)


def _keep(unit: Unit, made_from: str, results: Sequence[CaseResult]) -> None:
    """Keeps the replies of a unit whose results are all replays, next to its cassette."""
    replies = [
        KeptReply(text=result.reply, usage=result.usage, schema_mode=result.schema_mode)
        for result in results
        if result.reply is not None and result.usage and result.usage.replayed and result.schema_mode
    ]
    before = load_kept(unit.path, made_from)
    if len(replies) < len(results) or (before and before.replies[: len(replies)] == tuple(replies)):
        return
    age = results[0].age_days
    oldest = None if age is None else (datetime.now(UTC) - timedelta(days=age)).replace(microsecond=0)
    save_kept(unit.path, Kept(fingerprint=made_from, oldest=oldest, replies=tuple(replies)))


def _run_once(unit: Unit, number: int, provider: BaseLLM, cassette: Cassette | None) -> CaseResult:
    case = unit.case
    try:
        files = case.attachments()
        wanted = case.model_class()
        mode = provider.schema_mode(unit.model, wanted)
        with expecting(expected_size(case)):
            reply, usage = ask_in_order(provider, case.prompt, case.source, unit.model, model_class=wanted, files=files)
    except (Exception, CassetteMismatch, SystemExit) as error:  # noqa: BLE001 (each repeat fails by itself)
        return _failed(unit, number, error, cassette)
    values: dict[str, Any] = {"schema_mode": mode}
    if cassette:
        values |= {"cassette": str(cassette.path), **(_age(unit, cassette.age_days()) if usage.replayed else {})}
    return _judged(unit, number, provider, reply, usage, **values)


def _judged(unit: Unit, number: int, provider: BaseLLM, reply: str, usage: UsageData, **values: Any) -> CaseResult:
    """The result of a reply. It was paid for, so it is kept even if it cannot be scored."""
    # Without keys before anything is made of it: live as in a recording.
    scrubber = default_scrubber()
    values |= {"reply": scrubber.text(reply), "usage": _redacted(usage, scrubber)}
    try:
        if provider.config.fallback and (other := llm_registry.get_llm_provider(usage.provider)):
            values["schema_mode"] = other.schema_mode(usage.model, unit.case.model_class())
        return _result(unit, number, **values, **_scored(unit.case, values["reply"], values["usage"], scrubber))
    except (Exception, SystemExit) as error:  # noqa: BLE001 (each repeat fails by itself)
        return _failed(unit, number, error).model_copy(update=values)


def _scored(case: Case, reply: str, usage: UsageData, scrubber: Scrubber) -> dict[str, Any]:
    """The fields of `CaseResult` that come from extracting and scoring a reply."""
    wanted = case.model_class()
    extraction = extract(reply, wanted, usage.finish_reason)
    values: dict[str, Any] = {"actual": extraction.data, "problem": extraction.problem}
    try:
        compared = compare(scrubber.value(case.expected), extraction.data, wanted)
    except CaseError as error:
        # The user's own comparison raised.
        return {**values, "status": "failed", "error": "CaseError", "problem": f"{case.place}: {error}"}
    values["fields"] = tuple(compared.fields)
    if extraction.problem is None:
        return {**values, "status": "ok", "accuracy": compared.accuracy}
    return {**values, "status": "invalid", "accuracy": 0.0}


def _redacted(usage: UsageData, scrubber: Scrubber) -> UsageData:
    said = {"answered_model": usage.answered_model, "finish_reason": usage.finish_reason, "notes": list(usage.notes)}
    clean = scrubber.value(said)
    return usage if clean == said else usage.model_copy(update={**clean, "notes": tuple(clean["notes"])})


def _age(unit: Unit, age: float | None) -> dict[str, Any]:
    """The age of a recording in days, and the command to record it again if it is too old."""
    limit = settings().config.max_age
    is_old = age is not None and limit is not None and age > limit
    return {"age_days": age, "old": is_old, "command": unit.command("rewrite") if is_old else None}


def _result(unit: Unit, number: int, **values: Any) -> CaseResult:
    """The result of one repeat of a unit."""
    case = unit.case
    place: dict[str, Any] = {"module": case.module, "name": case.name, "variant": case.variant, "repeat": number}
    if problem := values.get("problem"):
        values["problem"] = default_scrubber().text(problem)
    return CaseResult(**place, provider=unit.provider, model=unit.model, **values)


def _failed(unit: Unit, number: int, error: BaseException, cassette: Cassette | None = None) -> CaseResult:
    # After an attempt that may be billed, it is a call that failed.
    is_unsent = isinstance(error, BudgetError | StoppedError) and not error.unanswered
    status = "skipped" if is_unsent else "failed"
    problem = str(error) if isinstance(error, LLMTesterError) else f"{type(error).__name__}: {error}"
    values: dict[str, Any] = {"status": status, "error": type(error).__name__, "problem": problem}
    if isinstance(error, LLMTesterError):
        values |= {name: getattr(error, name) for name in ("failed_cost", "failed_seconds", "attempts", "unanswered")}
    if isinstance(error, ProviderError) and cassette and cassette.replays_only and (failures := cassette.failures()):
        date = str(failures[-1].recorded.get("at", "an unknown date"))[:10]
        values |= {"problem": f"{error}\nreplayed failure of {date}", "command": unit.command("new_episodes")}
    return _result(unit, number, **values)
