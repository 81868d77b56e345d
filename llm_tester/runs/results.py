"""The results of a run, and how they are saved as JSON and loaded."""

import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from ..cassettes import versions
from ..cassettes.importing import collector_at_rest
from ..errors import ResultsError
from ..usage import UsageData, format_spent, format_usd
from ..utils.files import links_from, write_own
from ..utils.lean import lean
from ._forms import is_nothing
from .records import data_frame, record_of
from .scoring import Counts, FieldScore

__all__ = ["KIND", "CaseKey", "CaseRecord", "CaseResult", "OfCase", "OfModel", "Place", "Record", "RunResult", "Shard"]

RESULTS_FORMAT = 3
KIND: Literal["llm_tester results"] = "llm_tester results"

Status = Literal["ok", "invalid", "failed", "skipped"]

# Module, case and variant.
CaseKey = tuple[str, str, str]
# Module, case, variant, provider and model.
Place = tuple[str, str, str, str, str]


class Record(BaseModel):
    """The base of what runs save and sum up: frozen, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class OfCase(Record):
    """Something that belongs to a case with one of its prompts.

    Attributes:
        module: the name of the case's module.
        name: the name of the case.
        variant: the name of the prompt, "" for the plain one.
    """

    module: str
    name: str
    variant: str = ""

    @property
    def key(self) -> CaseKey:
        """Module, name and variant."""
        return self.module, self.name, self.variant

    @property
    def title(self) -> str:
        """`<module>/<name>`, or `<module>/<name>.<variant>`."""
        return f"{self.module}/{self.name}" + (f".{self.variant}" if self.variant else "")


class OfModel(Record):
    """Something that belongs to a provider and one of its models.

    Attributes:
        provider: the provider's name.
        model: the name of the model.
    """

    provider: str
    model: str

    @property
    def column(self) -> str:
        """`<provider>:<model>`."""
        return f"{self.provider}:{self.model}"


class CaseRecord(OfCase):
    """A case (`module`, `name`, `variant`) as it was run.

    Attributes:
        prompt: the instructions.
        source: the text to extract from.
        expected: the JSON of a right reply, with its `$any_of` and `$ignore`.
        files: the names of the files that were sent.
    """

    prompt: str = ""
    source: str = ""
    expected: Any = None
    files: tuple[str, ...] = ()


class CaseResult(OfModel, OfCase):
    """The result of one call: a case (`module`, `name`, `variant`) with a model (`provider`, `model`).

    Attributes:
        repeat: 1 for the first time, 2 for the second, …
        status: `ok`: the reply is a valid instance; `invalid`: it is not; `failed`: the call failed; `skipped`: it was
            not made.
        accuracy: 0 to 100 by the rules of docs/scoring.md; 0 if invalid, None if there was no reply or it could not be
            scored.
        fields: the score of every value; of an invalid reply, what its values would have scored.
        problem: what is wrong, in words; None if nothing is.
        command: the command that records the reply, if there is no recording, or a failed or old one; else None. It
            ends with the record mode.
        error: the name of the error's class; None if there was no error.
        reply: the reply's text; None if there was no reply.
        actual: the extracted data; None if there is none.
        usage: tokens, cost and seconds; None if there was no reply.
        cassette: the file that the reply was replayed from or recorded to; None if there was none. In results.json, its
            path is relative to that file.
        kept: whether the reply is what an earlier replay of the same recording was turned into (see `runs.kept`).
        age_days: the age of a replayed recording in days; None if it is unknown or nothing was replayed.
        old: whether that is more than the configured `max_age`.
        failed_cost: the most USD that attempts without a reply may have cost; None if that is unknown.
        failed_seconds: seconds that the attempts of a call without a reply took, without the waits between them.
        attempts: how often a call without a reply was tried; 0 if it was not made.
        unanswered: attempts of a failed call that may have been billed although no reply came.
        run_id: the run that made the call. `run --failed` keeps the good results of the run before.
        schema_mode: how the class was sent: `native` (as a response schema), `prompt` (in the prompt) or `off`;
            None if no call was made.
    """

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
    kept: bool = False
    age_days: float | None = None
    old: bool = False
    failed_cost: float | None = 0.0
    failed_seconds: float = 0.0
    attempts: int = Field(default=0, ge=0)
    unanswered: int = Field(default=0, ge=0)
    run_id: str = ""
    schema_mode: Literal["native", "prompt", "off"] | None = None

    @property
    def is_incomplete(self) -> bool:
        """Whether the call failed or was not made."""
        return self.status in ("failed", "skipped")

    @property
    def place(self) -> Place:
        """Module, name and variant of the case, provider and model."""
        return (*self.key, self.provider, self.model)

    @property
    def fallback(self) -> str | None:
        """`<provider>:<model>` of the fallback that answered; None if none did."""
        by = (self.usage.provider, self.usage.model) if self.usage else ("", "")
        return None if "" in by or by == (self.provider, self.model) else ":".join(by)

    @property
    def explanation(self) -> str | None:
        """What is wrong, and the command that fixes it if there is one; None if nothing is wrong."""
        return f"{self.problem}; to record: {self.command}" if self.command and self.is_incomplete else self.problem

    def of_run(self, run_id: str) -> "CaseResult":
        """This result as a run holds it, in little memory.

        Args:
            run_id: the run's id.
        """
        # A user's class may hold more than fields.
        usage = lean(self.usage) if type(self.usage) is UsageData else self.usage
        return lean(self, run_id=run_id, usage=usage, fields=tuple(map(lean, self.fields)))

    def skipped(self, problem: str) -> "CaseResult":
        """The result of the same call if it had been skipped.

        Args:
            problem: why.
        """
        place = self.model_dump(include={"module", "name", "variant", "provider", "model", "repeat", "run_id"})
        return CaseResult(**place, status="skipped", problem=problem)

    @property
    def counts(self) -> Counts | None:
        """How many values are right, wrong, missing and extra; None if nothing was compared.

        An invalid reply cannot be used, so all expected values count as missing.
        """
        if self.accuracy is None:
            return None
        if self.status == "ok":
            return Counts.of(self.fields)
        return Counts(0, 0, sum(not is_nothing(field.expected) for field in self.fields), 0)

    @property
    def source_of_reply(self) -> str:
        """The origin of the reply, in a few words."""
        if self.usage is None:
            return "—"
        origin = self.usage.origin or "in process"
        how = "kept replay" if self.kept else "replayed" if self.usage.replayed else "live"
        return f"{how}: {origin}" + (" (old)" if self.old else "")


class Shard(Record):
    """Which part of a divided run results are.

    Attributes:
        number: the part, from 1.
        of: the number of parts.
        digest: of all cases, models and repeats of the whole run; equal for all its parts.
        columns: `<provider>:<model>` of the whole run, in their order.
    """

    number: int = Field(ge=1)
    of: int = Field(ge=1)
    digest: str
    columns: tuple[str, ...]


class RunResult(Record):
    """The results of a run.

    Attributes:
        kind: marks the file as results of llm_tester.
        format: the version of the file format.
        run_id: unique.
        started_at: ISO 8601, UTC.
        seconds: how long the run took.
        versions: of llm_tester and the libraries that made the calls.
        record: the record mode of the run.
        repeats: how often each case was run.
        max_cost: the run's limit in USD; None if it had none.
        spent_usd: USD that the run's live replies are known to have cost.
        spent_unknown: live replies of unknown cost; if there are any, the run cost more than `spent_usd`.
        at_most_usd: `spent_usd` plus the most that attempts without a reply may have cost; None if that is unknown.
        unanswered: attempts that may have been billed although no reply came.
        problems: by the name of each provider that could not start, why.
        shard: which part of a divided run this is; None if it is whole.
        schemas: by module, the JSON Schema of its class; none if pydantic cannot write it.
        cases: every case that was run.
        results: one for each case, provider, model and repeat.
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
    shard: Shard | None = None
    schemas: dict[str, dict[str, Any]] = {}
    cases: tuple[CaseRecord, ...] = ()
    results: tuple[CaseResult, ...] = ()

    @property
    def spent_text(self) -> str:
        """What the run spent, in words. Every output shows this text."""
        text = format_spent(self.spent_usd, self.spent_unknown, self.at_most_usd, self.unanswered)
        if self.max_cost is not None:
            text += f", of {format_usd(self.max_cost)} allowed"
        if kept := sum(result.run_id not in ("", self.run_id) for result in self.results):
            text += f"; {kept} of {len(self.results)} results are kept from earlier runs, which costs.json lists"
        return text

    def to_records(self) -> list[dict[str, Any]]:
        """The results as flat dicts of plain values, in the order of `results`; docs/python.md lists the names."""
        return [record_of(result) for result in self.results]

    def to_dataframe(self) -> Any:
        """The records as a `pandas.DataFrame`; without pandas, as a `polars.DataFrame`.

        Raises:
            ConfigError: neither is installed.
        """
        return data_frame(self.to_records())

    def _repr_html_(self) -> str:
        """The matrix of cases and models, which notebooks show."""
        # From the package's lazy names, because reports lie above results.
        from .. import notebook_matrix

        return str(notebook_matrix(self))

    def incomplete(self) -> list[CaseResult]:
        """The results of calls that failed or were not made."""
        return [result for result in self.results if result.is_incomplete]

    def problems_of_results(self) -> list[tuple[str, list[CaseResult]]]:
        """Each problem with the results that have it."""
        found: dict[tuple[str, str], list[CaseResult]] = {}
        for result in self.results:
            if result.problem and result.status != "ok":
                found.setdefault((result.status, result.problem), []).append(result)
        return [(problem, results) for (_, problem), results in found.items()]

    def old_recordings(self) -> list[CaseResult]:
        """The results that were replayed from a recording older than the configured `max_age`."""
        return [result for result in self.results if result.old]

    @collector_at_rest()
    def save(self, path: str | Path) -> None:
        """Writes the results as JSON.

        The paths of cassettes become relative to the file, so that it can move together with them.

        Raises:
            ResultsError: the file was written by another program, or cannot be written.
        """
        path = Path(path)
        write_own(path, self.to_json(path.parent), KIND)

    def _with_cassettes(self, new: Callable[[str], str]) -> "RunResult":
        """A copy with new paths of the cassettes, from the old ones."""
        paths = ((result, result.cassette and new(result.cassette)) for result in self.results)
        results = (result.model_copy(update={"cassette": path}) if path else result for result, path in paths)
        return self.model_copy(update={"results": tuple(results)})

    def to_json(self, folder: Path | None = None) -> str:
        """The results as JSON, with each case and each result on its own line.

        Half of a surrogate pair, which a reply may contain and UTF-8 cannot encode, is written as its escape.

        Args:
            folder: the directory to which the paths of cassettes become relative; None to leave them as they are.
        """
        results = self._with_cassettes(links_from(folder)).results if folder else self.results
        values = {name: json.dumps(value) for name, value in self.model_dump(exclude={"cases", "results"}).items()}
        values |= {"cases": _in_lines(self.cases), "results": _in_lines(results)}
        return "{\n" + ",\n".join(f' "{name}": {value}' for name, value in values.items()) + "\n}\n"

    @classmethod
    def load(cls, path: str | Path) -> "RunResult":
        """Reads a file that `save` wrote.

        Raises:
            ResultsError: the file is missing, cut off, from another program, or of another format version.
        """
        path = Path(path)
        try:
            with collector_at_rest():
                data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ResultsError(f"{path}: there is no such file") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ResultsError(f"{path}: cannot be read as UTF-8 text ({error})") from error
        except json.JSONDecodeError as error:
            raise ResultsError(f"{path}, line {error.lineno}: not JSON, or cut off: {error.msg}") from error
        except (RecursionError, ValueError) as error:  # Python refuses integers of more than 4,300 digits
            raise ResultsError(f"{path}: nested too deeply, or a number is too long ({error})") from error
        if not isinstance(data, dict) or data.get("kind") != KIND:
            raise ResultsError(f"{path}: not a results file of llm_tester; `llm-tester run` writes results.json")
        if data.get("format") != RESULTS_FORMAT:
            raise ResultsError(
                f"{path}: has results format {data.get('format')!r}, this llm_tester reads {RESULTS_FORMAT}; "
                "run the cases again with this version"
            )
        try:
            with collector_at_rest():
                folder = path.absolute().parent
                return cls.model_validate(data)._with_cassettes(lambda cassette: os.path.normpath(folder / cassette))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ResultsError(f"{path}: {place}: {first['msg']}") from error


def _in_lines(items: Sequence[Record]) -> str:
    return "[\n  " + ",\n  ".join(map(_json, items)) + "\n ]" if items else "[]"


def _json(item: Record) -> str:
    try:
        return item.model_dump_json()
    except PydanticSerializationError:
        # It refuses half of a surrogate pair.
        return json.dumps(item.model_dump(), default=to_jsonable_python)
