"""The HTML report without a browser: what is in it, and what cannot be."""

import base64
import hashlib
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_pages import HOSTILE, embedded, hostile_run, one, priced, run_of, without_data
from report_sample import sample_run

from llm_tester.reports.html import MARK, render
from llm_tester.runs.baseline import compare_runs
from llm_tester.runs.results import RunResult
from llm_tester.runs.scoring import FieldScore, compare


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", without_data(page).partition("<header")[2]).split())


class Elements(HTMLParser):
    """Counts what a browser would make of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag == name]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_hostile_texts_stay_texts() -> None:
    run = hostile_run()
    wrong = [result.model_copy(update={"accuracy": 0.0}) for result in run.results]
    page = render(run, compare_runs(run.model_copy(update={"results": tuple(wrong)}), run))
    scored = one(accuracy=100.0, usage=priced(None))
    plain = render(run_of(scored), compare_runs(run_of(one(accuracy=0.0, usage=priced(None))), run_of(scored)))
    elements, wanted = Elements(), Elements()
    elements.feed(page)
    wanted.feed(plain)
    # Exactly the scripts of a harmless page, and no element or attribute that could start one.
    assert elements.named("script") == wanted.named("script")
    assert {tag for tag, _ in elements.tags} <= {tag for tag, _ in wanted.tags} | {"b", "li", "p", "details", "summary"}
    assert not [name for _, attrs in elements.tags for name in attrs if name.startswith("on")]
    assert "1337" not in page
    replies = [result["reply"] for result in embedded(page, "report-details")["results"]]
    assert [embedded(page, "report-details")["texts"][place] for place in replies] == list(HOSTILE)


def test_the_data_cannot_end_its_element() -> None:
    page = render(hostile_run())
    blocks = re.findall(r'<script type="application/json" id="[a-z-]+">(.*?)</script>', page, re.DOTALL)
    assert len(blocks) == 2
    assert not re.search("[<\u2028\u2029]", "".join(blocks))


def test_lone_surrogates_and_other_values_can_be_written() -> None:
    values = {"text": "\ud800", "nan": float("nan"), "big": 12345678901234567890123, "precise": 0.1 + 0.2}
    field = FieldScore(path="nan", score=0.0, weight=1.0, expected=values["nan"], actual=values["big"], note="")
    page = render(run_of(one(actual=values, accuracy=0.0, fields=(field,), usage=priced(None))))
    page.encode("utf-8")
    texts = embedded(page, "report-details")["texts"]
    assert "NaN" in texts
    assert "12345678901234567890123" in texts
    assert any("0.30000000000000004" in text for text in texts)


def test_only_its_own_script_may_run() -> None:
    page = render(sample_run(3))
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    policy = re.findall(r'Content-Security-Policy" content="(.*?)"', page)[0]
    assert f"script-src &#39;sha256-{digest}&#39;" in policy
    assert policy.startswith("default-src &#39;none&#39;;")
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]


def test_it_begins_with_what_marks_it() -> None:
    page = render(run_of(one()))
    assert MARK == "<!-- llm_tester report -->"
    assert MARK in page[:60]
    assert '<meta charset="utf-8">' in page[:400]
    assert '<meta name="viewport"' in page


def test_it_is_small_and_names_no_address() -> None:
    page = without_data(render(run_of(one())))
    assert len(page.encode()) < 300_000
    assert not re.search(r"https?:", page)
    assert "@import" not in page
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)", page)


def test_the_same_run_gives_the_same_page() -> None:
    before, run = sample_run(6, repeats=2, seed=4), sample_run(6, repeats=2)
    again = RunResult.model_validate_json(run.model_dump_json())
    assert render(run, compare_runs(before, run)) == render(again, compare_runs(before, again))


def test_problems_are_at_the_top() -> None:
    text = words(render(run_of(one(), problems={"cohere": "no key"})))
    assert "cohere could not start. no key" in text


@pytest.mark.parametrize(
    ("costs", "shown"),
    [
        ([None, None], "unknown"),
        ([0.25, None], "at least $0.2500"),
        ([0.0, None], "unknown"),
        ([0.0, 0.0], "$0"),
        ([0.25, 0.5], "$0.7500"),
        ([], "—"),
    ],
)
def test_the_cost_of_all_replies(costs: list[float | None], shown: str) -> None:
    results = [one(usage=priced(usd), repeat=number) for number, usd in enumerate(costs, 1)]
    assert f"Cost of all replies {shown} " in words(render(run_of(*results)))


@pytest.mark.parametrize(
    ("spent", "unknown", "shown"),
    [(0.0, 0, "$0"), (0.0, 3, "unknown"), (0.5, 3, "at least $0.5000"), (0.5, 0, "$0.5000")],
)
def test_what_was_spent(spent: float, unknown: int, shown: str) -> None:
    assert f"Spent by this run {shown} " in words(render(run_of(one(), spent_usd=spent, spent_unknown=unknown)))


def test_an_unknown_cost_has_no_place_in_the_plot() -> None:
    results = [
        one(model="free", usage=priced(0.0), accuracy=50.0),
        one(model="dear", usage=priced(0.5), accuracy=100.0),
        one(model="unpriced", usage=priced(None), accuracy=70.0),
        one(model="half", usage=priced(0.25), accuracy=80.0),
        one(model="half", usage=priced(None), accuracy=80.0, repeat=2),
        one(model="broken", status="failed"),
    ]
    columns = {column["model"]: column for column in embedded(render(run_of(*results)), "report-index")["columns"]}
    assert {model: column["cost"] for model, column in columns.items()} == {
        "dear": 0.5,
        "half": 0.25,
        "unpriced": None,
        "free": 0.0,
        "broken": None,
    }
    assert (columns["half"]["known"], columns["half"]["answered"]) == (1, 2)
    assert columns["unpriced"]["costText"] == "unknown"


def test_what_is_not_quite_right_is_not_100() -> None:
    page = render(run_of(one(accuracy=99.98, usage=priced(None))))
    assert "<td>99.9</td>" in page
    assert "<td>100</td>" not in page


def test_each_price_note_is_shown_once() -> None:
    note = "litellm $1, genai-prices $2"
    results = [one(usage=priced(0.1, price_note=note), repeat=number) for number in range(1, 9)]
    page = without_data(render(run_of(*results)))
    assert page.count(note) == 1
    assert "<b>p:x</b>" in page


def test_origins_are_counted() -> None:
    replayed = priced(0.1, replayed=True, origin="api.example")
    results = [one(usage=replayed, repeat=1), one(usage=replayed, repeat=2, old=True), one(usage=priced(0.1), repeat=3)]
    text = words(render(run_of(*results)))
    for shown in ("1 replayed: api.example", "1 replayed: api.example (old)", "1 live: in process"):
        assert shown in text


def test_it_reads_without_scripts() -> None:
    results = [
        one(name="a", accuracy=80.0, usage=priced(None), repeat=1),
        one(name="a", accuracy=90.0, usage=priced(None), repeat=2),
        one(name="b", status="invalid", accuracy=0.0, usage=priced(None)),
        one(name="c", status="failed"),
        one(name="c", status="skipped", model="y"),
    ]
    page = render(run_of(*results, repeats=2))
    table = page.partition("<noscript>\n<section>")[2].partition("</noscript>")[0]
    text = " ".join(re.sub(r"<[^>]+>", " ", table).split())
    assert "m/a 85 ±7.1 (2×) — m/b 0 invalid — m/c failed skipped" in text


def test_fields_of_lists_and_of_missing_objects_come_together() -> None:
    expected = {"salary": {"min": 1, "max": 2}, "skills": [{"name": "Go"}, {"name": "SQL"}], "a[0].b": "x"}
    answers: list[dict[str, Any]] = [
        expected,
        {"skills": [{"name": "Go"}, {"name": "SQL"}, {"name": "Excel"}], "a[0].b": "x"},
    ]
    results = [
        one(repeat=number, usage=priced(None), accuracy=0.0, fields=tuple(compare(expected, answer).fields))
        for number, answer in enumerate(answers, 1)
    ]
    [table] = embedded(render(run_of(*results, repeats=2)), "report-index")["fields"]
    assert table["module"] == "m"
    assert {path: rules for path, _, rules in table["paths"]}["salary.min"] == ["number"]
    assert {path: cells[0] for path, cells, _ in table["paths"]} == {
        "salary.min": [50.0, 2, 1, 1],
        "salary.max": [50.0, 2, 1, 1],
        "skills[].name": [80.0, 5, 1, 3],
        '["a[0].b"]': [100.0, 2, 0, 1],
    }


def test_texts_are_embedded_once() -> None:
    run = sample_run(2, repeats=3)
    details = embedded(render(run), "report-details")
    assert len(details["texts"]) == len(set(details["texts"]))
    assert sum(case.source in text for case in run.cases for text in details["texts"]) == len(run.cases)


def test_a_model_with_two_prompts_is_one_model_with_a_table_of_prompts() -> None:
    results = [one(accuracy=50.0, usage=priced(None)), one(variant="short", accuracy=70.0, usage=priced(None))]
    page = render(run_of(*results))
    index = embedded(page, "report-index")
    assert [(column["title"], column["accuracy"]) for column in index["columns"]] == [("p:x", 60.0)]
    assert index["rows"] == [["m", "a", ""], ["m", "a", "short"]]
    text = words(page)
    assert "1 case, 1 model " in text
    assert "p x (plain) 50 1 of 1 cases" in text
    assert "p x short 70 1 of 1 cases" in text


def test_a_model_that_lacks_cases_says_how_many_it_has() -> None:
    results = [
        *(one(name=name, accuracy=80.0, usage=priced(None)) for name in "abcd"),
        *(one(name=name, model="y", accuracy=90.0, usage=priced(None)) for name in "abc"),
        *(one(name="a", model="z", accuracy=100.0, usage=priced(None)), one(name="b", model="z", status="failed")),
    ]
    text = words(render(run_of(*results)))
    assert "ranked over the 3 of 4 cases that all ranked models answered" in text
    assert "1 p y 90 3 of 4 cases" in text
    assert "2 p x 80 — " not in text
    assert "3 p z 100 1 of 4 cases, not ranked" in text


def test_a_run_without_results() -> None:
    assert "The run has no results." in render(run_of())


def test_one_model_is_not_ranked() -> None:
    page = render(run_of(one(accuracy=80.0, usage=priced(0.1)), one(name="b", status="failed")))
    text = words(page.partition("<script")[0])
    assert "p x 80 1 of 2 cases $0.1000" in text
    assert "rank" not in text
    assert "most accurate" not in text


def test_if_nothing_was_answered_the_page_says_why() -> None:
    results = [one(name=name, status="skipped", problem="no key", command="llm-tester run -m m/a") for name in "ab"]
    page = render(run_of(*results))
    assert '<details class="notice bad" open>' in page
    assert "m/a, m/b, p:x, skipped: no key; to record the first: llm-tester run -m m/a" in words(page)
    assert "ranked over" not in words(page)


def test_at_most_twenty_problems_are_listed() -> None:
    results = [one(name=str(number), status="failed", problem=f"problem {number}.") for number in range(25)]
    text = words(render(run_of(*results)))
    assert "25 problems with replies" in text
    assert "problem 19." in text
    assert "problem 20." not in text
    assert "and 5 more; report.md lists them all" in text


def test_no_path_of_the_machine_is_in_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    cassette, other = tmp_path / "project/cassettes/m/x.yaml", tmp_path / "elsewhere/y.yaml"
    problem = f"{cassette}: not recorded. See '{other}' and http://host{tmp_path}/api"
    results = [
        one(cassette=str(cassette), usage=priced(0.1)),
        one(name="b", cassette=str(other), status="failed", problem=problem),
    ]
    page = render(run_of(*results, problems={"p": f"{other}: no such file"}), directory=tmp_path / "project/out")
    assert str(tmp_path) not in page.replace(f"http://host{tmp_path}", "")
    details = embedded(page, "report-details")
    links = [details["texts"][result["cassette"]] for result in details["results"]]
    assert links == ["../cassettes/m/x.yaml", "../../elsewhere/y.yaml"]
    away = os.path.join("..", "elsewhere", "y.yaml")  # noqa: PTH118 (a path in a text)
    assert details["texts"][details["results"][1]["problem"]].startswith(
        f"cassettes/m/x.yaml: not recorded. See '{away}' and http://host{tmp_path}/api"
    )
    assert f"{away}: no such file" in words(page).replace("&#39;", "'")


def test_an_earlier_run_is_shown_next_to_this_one() -> None:
    earlier = run_of(one(accuracy=50.0, reply="then"), one(name="gone", reply="not shown"), run_id="r0")
    page = render(run_of(one(accuracy=80.0, reply="now")), against=earlier)
    index, details = embedded(page, "report-index"), embedded(page, "report-details")
    assert (index["own"], index["against"]) == (1, "r0")
    assert [result[4] for result in index["results"]] == [80.0, 50.0]
    assert [details["texts"][result["reply"]] for result in details["results"]] == ["now", "then"]
    # The verdicts are those of a baseline.
    assert "Then: r0" in words(page)
    assert "50.0 → 80.0" in words(page)


def test_ten_thousand_results() -> None:
    run = sample_run(100)
    results = [result.model_copy(update={"repeat": repeat}) for result in run.results for repeat in range(1, 11)]
    page = render(run.model_copy(update={"results": tuple(results), "repeats": 10}))
    assert len(embedded(page, "report-index")["results"]) == 10_000
    assert len(embedded(page, "report-details")["results"]) == 10_000
