"""What a run found: typed, saved as JSON, loaded again."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..cassettes import versions
from ..errors import ResultsError
from ..usage import UsageData, format_spent, format_usd
from ..utils.files import write_own
from ._forms import is_nothing
from .scoring import Counts, FieldScore

__all__ = ["KIND", "RESULTS_FORMAT", "CaseRecord", "CaseResult", "Place", "RunResult"]

RESULTS_FORMAT = 2
KIND: Literal["llm_tester results"] = "llm_tester results"

Status = Literal["ok", "invalid", "failed", "skipped"]

# Module, case, variant, provider and model.
Place = tuple[str, str, str, str, str]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CaseRecord(_Record):
    """A case as it was run: what was asked, of what, and what a right reply holds.

    Attributes:
        module: the name of its module.
        name: its own name.
        variant: the name of its prompt, "" for the plain one.
        prompt: what to do.
        source: the text to do it with.
        expected: what a right reply holds, with its `$any_of` and `$ignore`.
        files: the names of the files that went along.
    """

    module: str
    name: str
    variant: str = ""
    prompt: str = ""
    source: str = ""
    expected: Any = None
    files: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str, str]:
        """Module, name and variant."""
        return self.module, self.name, self.variant


class CaseResult(_Record):
    """One case with one model, once.

    Attributes:
        module: the case's module.
        name: the case's name.
        variant: the name of the prompt, "" for the plain one.
        provider: the provider's name.
        model: the model that was asked for.
        repeat: 1 for the first time, 2 for the second, …
        status: `ok`: the reply is a valid instance; `invalid`: it is not; `failed`: the call failed; `skipped`: it was
            not made.
        accuracy: 0 to 100 by the rules of docs/scoring.md; 0 if invalid, None if there was no reply or it could not be
            scored.
        fields: the score of every value; of an invalid reply, what its values would have scored.
        problem: what is wrong, for a person; None where nothing is.
        command: the command that records the reply, if what is recorded is nothing, a failure or old; else None. It
            ends in its record mode.
        error: the name of the error's class, None where there was none.
        reply: the reply's text, None where there was none.
        actual: what was extracted, None where nothing was.
        usage: tokens, cost and seconds, None where there was no reply.
        cassette: the file that the reply came from or was recorded into, None where there was none.
        age_days: the age of a replayed recording in days, None where it is unknown or nothing was replayed.
        old: whether that is more than the configured `max_age`.
        failed_cost: USD that attempts to which no reply came may have cost, at most; None if that is unknown.
        attempts: how often a call without a reply was tried; 0 if it was not made.
        unanswered: attempts of a failed call that may have been billed although no reply came.
        run_id: the run that made the call; a run of what failed keeps the other results of an earlier one.
        schema_mode: how the class was asked for: `native` (as a response schema), `prompt` (in the prompt) or `off`;
            None if no call was made.
    """

    module: str
    name: str
    variant: str = ""
    provider: str
    model: str
    repeat: int = Field(default=1, ge=1)
    status: Status
    accuracy: float | None = Field(default=None, ge=0, le=100)
    fields: tuple[FieldScore, ...] = ()
    problem: str | None = None
    command: str | None = None
    error: str | None = None
    reply: str | None = None
    actual: Any = None
    usage: UsageData | None = None
    cassette: str | None = None
    age_days: float | None = None
    old: bool = False
    failed_cost: float | None = 0.0
    attempts: int = Field(default=0, ge=0)
    unanswered: int = Field(default=0, ge=0)
    run_id: str = ""
    schema_mode: Literal["native", "prompt", "off"] | None = None

    @property
    def is_incomplete(self) -> bool:
        """Whether the call failed or was not made."""
        return self.status in ("failed", "skipped")

    @property
    def case_key(self) -> tuple[str, str, str]:
        """Module, name and variant of the case."""
        return self.module, self.name, self.variant

    @property
    def place(self) -> Place:
        """Module, name and variant of the case, provider and model."""
        return (*self.case_key, self.provider, self.model)

    @property
    def explanation(self) -> str | None:
        """What is wrong, and the command that mends it if there is one; None if nothing is."""
        return f"{self.problem}; to record: {self.command}" if self.command and self.is_incomplete else self.problem

    def skipped(self, problem: str) -> "CaseResult":
        """The same place without a reply."""
        place = self.model_dump(include={"module", "name", "variant", "provider", "model", "repeat", "run_id"})
        return CaseResult(**place, status="skipped", problem=problem)

    @property
    def title(self) -> str:
        """`<module>/<name>`, with `.<variant>` where there is one."""
        return f"{self.module}/{self.name}" + (f".{self.variant}" if self.variant else "")

    @property
    def column(self) -> str:
        """`<provider>:<model>`."""
        return f"{self.provider}:{self.model}"

    @property
    def counts(self) -> Counts | None:
        """How many values are right, wrong, missing and extra; None if nothing was compared.

        A reply that is not valid gives nothing that could be used: all that was expected is missing.
        """
        if self.accuracy is None:
            return None
        if self.status == "ok":
            return Counts.of(self.fields)
        return Counts(0, 0, sum(not is_nothing(field.expected) for field in self.fields), 0)

    @property
    def source_of_reply(self) -> str:
        """Where the reply came from, in a few words."""
        if self.usage is None:
            return "—"
        origin = self.usage.origin or "in process"
        how = "replayed" if self.usage.replayed else "live"
        return f"{how}: {origin}" + (" (old)" if self.old else "")


class RunResult(_Record):
    """What a run found.

    Attributes:
        kind: says that this is a results file of llm_tester.
        format: the version of its form.
        run_id: unique.
        started_at: ISO 8601, UTC.
        seconds: how long the run took.
        versions: of llm_tester and the libraries that made the calls.
        record: the record mode that was asked for.
        repeats: how often each case was run.
        max_cost: the run's limit in USD, None where there was none.
        spent_usd: USD that the run's live replies are known to have cost.
        spent_unknown: live replies of unknown cost; if there are any, `spent_usd` is "at least".
        at_most_usd: `spent_usd`, and USD that attempts without a reply may have cost, at most; None if that is unknown.
        unanswered: attempts that may have been billed although no reply came.
        problems: providers that could not start, by name.
        cases: every case that was run.
        results: one a case, provider, model and repeat.
    """

    kind: Literal["llm_tester results"] = KIND
    format: int = RESULTS_FORMAT
    run_id: str
    started_at: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    seconds: float = 0.0
    versions: dict[str, str] = Field(default_factory=versions)
    record: str = "auto"
    repeats: int = 1
    max_cost: float | None = None
    spent_usd: float = 0.0
    spent_unknown: int = 0
    at_most_usd: float | None = 0.0
    unanswered: int = 0
    problems: dict[str, str] = {}
    cases: tuple[CaseRecord, ...] = ()
    results: tuple[CaseResult, ...] = ()

    @property
    def spent_text(self) -> str:
        """What the run spent, for a person: the same text in every output."""
        text = format_spent(self.spent_usd, self.spent_unknown, self.at_most_usd, self.unanswered)
        if self.max_cost is not None:
            text += f", of {format_usd(self.max_cost)} allowed"
        if kept := sum(result.run_id not in ("", self.run_id) for result in self.results):
            text += f"; {kept} of {len(self.results)} results are kept from earlier runs, which costs.json lists"
        return text

    def incomplete(self) -> list[CaseResult]:
        """The results of calls that failed or were not made."""
        return [result for result in self.results if result.is_incomplete]

    def problems_of_results(self) -> list[tuple[str, list[CaseResult]]]:
        """What went wrong, each status and problem once, with the results that have it."""
        found: dict[tuple[str, str], list[CaseResult]] = {}
        for result in self.results:
            if result.problem and result.status != "ok":
                found.setdefault((result.status, result.problem), []).append(result)
        return [(problem, results) for (_, problem), results in found.items()]

    def old_recordings(self) -> list[CaseResult]:
        """The results that were replayed from a recording older than the configured `max_age`."""
        return [result for result in self.results if result.old]

    def save(self, path: str | Path) -> None:
        """Writes the results as JSON.

        Raises:
            ResultsError: another program's file stands there, or it cannot be written.
        """
        write_own(Path(path), self.to_json(), KIND)

    def to_json(self) -> str:
        """The results as JSON, a case and a result to a line.

        In ASCII, because a reply may hold half a surrogate pair, which UTF-8 cannot.
        """
        parts = (f" {json.dumps(name)}: {_in_lines(value)}" for name, value in self.model_dump(mode="json").items())
        return "{\n" + ",\n".join(parts) + "\n}\n"

    @classmethod
    def load(cls, path: str | Path) -> "RunResult":
        """Reads results that `save` wrote.

        Raises:
            ResultsError: the file is missing, cut, not ours, or of another format version.
        """
        path = Path(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ResultsError(f"{path}: there is no such file") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ResultsError(f"{path}: cannot be read as UTF-8 text ({error})") from error
        except json.JSONDecodeError as error:
            raise ResultsError(f"{path}, line {error.lineno}: not JSON, or cut off: {error.msg}") from error
        if not isinstance(data, dict) or data.get("kind") != KIND:
            raise ResultsError(f"{path}: not a results file of llm_tester; `llm-tester run` writes results.json")
        if data.get("format") != RESULTS_FORMAT:
            raise ResultsError(
                f"{path}: has results format {data.get('format')!r}, this llm_tester reads {RESULTS_FORMAT}; "
                "run the cases again with this version"
            )
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ResultsError(f"{path}: {place}: {first['msg']}") from error


def _in_lines(value: Any) -> str:
    """A value as JSON, a list with an item to a line; told to indent all, `json` takes 2.5 times as long."""
    if not isinstance(value, list) or not value:
        return json.dumps(value)
    return "[\n" + ",\n".join(f"  {json.dumps(item)}" for item in value) + "\n ]"
