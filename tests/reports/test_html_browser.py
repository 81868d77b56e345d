"""The HTML report in a real browser: what people do with it, and what hostile replies cannot do."""

import json
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest

pytest.importorskip("selenium", reason="the package selenium is not installed")

import chromium
from conftest import ROOT
from console import run_script
from report_pages import HOSTILE, hostile_run, one, priced, run_of
from report_sample import MODELS, sample_run
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from llm_tester.reports.html import render
from llm_tester.runs.results import CaseRecord, RunResult
from llm_tester.runs.scoring import compare

pytestmark = pytest.mark.skipif(chromium.missing() is not None, reason=chromium.missing() or "")

CONTRAST = """
  const light = (part) => (part /= 255, part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const luminance = (colour) => {
    if (known.has(colour)) return known.get(colour);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue] = canvas.getImageData(0, 0, 1, 1).data;
    known.set(colour, 0.2126 * light(red) + 0.7152 * light(green) + 0.0722 * light(blue));
    return known.get(colour);
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (!/, 0\\)$|transparent/.test(colour)) return colour;
    }
  };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.closest("svg, script, noscript, option")) continue;
    const [one, two] = [luminance(getComputedStyle(element).color), luminance(behind(element))];
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (ratio < 4.5) low.push([element.tagName, element.className, ratio, element.textContent.slice(0, 40)]);
  }
  return low;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = chromium.open_chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


class Page:
    """A report that is open in the browser."""

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver = driver
        self.address = address
        self.load()

    def load(self, fragment: str = "") -> None:
        self.driver.get("about:blank")  # another fragment alone would not load the page again
        self.driver.get(self.address + fragment)

    def js(self, script: str, *values: Any) -> Any:
        return self.driver.execute_script(f"return {script}", *values)

    def texts(self, selector: str) -> list[str]:
        return self.js("[...document.querySelectorAll(arguments[0])].map((found) => found.innerText.trim())", selector)

    def text(self, selector: str) -> str:
        """What an element shows; the driver's own text is empty for some of what has to be scrolled to."""
        element = "document.querySelector(arguments[0])"
        return self.js(f"{element}.checkVisibility() ? {element}.innerText : null", selector)

    def visible(self, selector: str) -> list[str]:
        """The texts of those elements that can be seen."""
        found = "[...document.querySelectorAll(arguments[0])].filter((found) => found.checkVisibility())"
        return self.js(f"{found}.map((found) => found.innerText.trim())", selector)

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def cases(self) -> list[str]:
        return self.texts("#matrix tbody th .model")

    def column(self, place: int) -> list[float]:
        """The accuracies in a column of the matrix, those without one as infinity."""
        cells = self.texts(f"#matrix tbody td:nth-of-type({place}) .tile")
        return [float(text.split()[0]) if text[:1].isdigit() else float("inf") for text in cells]

    def press(self, *keys: str) -> None:
        self.driver.switch_to.active_element.send_keys(*keys)

    def place(self) -> list[int]:
        """Row and column of the cell that has the focus; before the models are the case and the mean."""
        cell = "document.activeElement.closest('td')"
        return self.js(f"[{cell}.parentNode.sectionRowIndex, {cell}.cellIndex]")

    def prefer(self, theme: str) -> None:
        """Sets what the system prefers."""
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.load()

    def opened(self) -> str | None:
        """The title of what is open."""
        title = "document.querySelector('#detail-title').textContent"
        return self.js(f"document.querySelector('dialog').open ? {title} : null")

    def wait_for(self, script: str) -> None:
        WebDriverWait(self.driver, 60, poll_frequency=0.02).until(lambda _: self.js(script))

    def console(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture
def show(browser: webdriver.Chrome, tmp_path: Path) -> Iterator[Any]:
    """Opens a run's report; at the end the console has to be empty."""
    pages: list[Page] = []

    def opened(run: RunResult, **options: Any) -> Page:
        path = tmp_path / "report.html"
        path.write_text(render(run, **options), encoding="utf-8")
        pages.append(Page(browser, path.as_uri()))
        return pages[-1]

    yield opened
    assert [page.console() for page in pages] == [[]] * len(pages)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.execute_script("localStorage.clear()")


def what_is_shown(page: Page) -> list[Any]:
    """All that a reader may have chosen."""
    controls = "[...document.querySelectorAll('.tools input, .tools select, .beside select')]"
    values = page.js(f"{controls}.map((control) => control.type === 'checkbox' ? control.checked : control.value)")
    sorting = page.js("[...document.querySelectorAll('#matrix th')].map((head) => head.ariaSort)")
    theme = page.js("document.documentElement.dataset.theme")
    return [values, sorting, theme, page.texts("#matrix tbody a"), page.opened(), page.texts(".compared tr")]


def as_phone(page: Page) -> None:
    metrics = {"width": 375, "height": 812, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.load()


def test_every_case_and_model_is_there(show: Any) -> None:
    run = sample_run(9)
    page = show(run)
    assert sorted(page.cases()) == sorted({case.name for case in run.cases})
    assert len(page.texts("#matrix tbody a")) == 90
    assert page.text("#found") == "9 of 9 cases, 10 of 10 models"
    shown = [float(text) for text in page.texts("#matrix .means td")[1:]]
    assert shown == sorted(shown, reverse=True)


def test_sorting(show: Any) -> None:
    page = show(sample_run(12))
    names = page.texts("#matrix tbody th")
    assert names == sorted(names)
    page.find("#matrix [data-sort='case']").click()
    assert page.texts("#matrix tbody th") == names[::-1]
    page.find("#matrix [data-sort='3']").click()
    falling = page.column(5)
    page.find("#matrix [data-sort='3']").send_keys(Keys.ENTER)
    rising = page.column(5)
    known = [value for value in rising if value != float("inf")]
    assert rising[: len(known)] == sorted(known)
    assert falling[: len(known)] == sorted(known, reverse=True)
    assert page.js("document.activeElement.dataset.sort") == "3"
    assert page.texts("#matrix th[aria-sort='ascending'] .model") == [page.texts("#matrix thead .model")[3]]
    page.find("#matrix [data-sort='mean']").click()
    assert page.column(1) == sorted(page.column(1))


def test_filtering(show: Any) -> None:
    run = sample_run(18)
    page = show(run)
    page.find("#text").send_keys("anthropic invoices")
    assert page.texts("#matrix thead .model") == ["claude-sonnet-4-5", "claude-haiku-4-5"]
    assert set(page.texts("#matrix tbody th .provider")) == {"invoices"}
    assert page.text("#found") == "6 of 18 cases, 2 of 10 models"
    page.find("#text").send_keys(Keys.CONTROL, "a", Keys.BACKSPACE)
    Select(page.find("#module")).select_by_value("products")
    assert set(page.texts("#matrix tbody th .provider")) == {"products"}
    Select(page.find("#module")).select_by_value("")
    Select(page.find("#status")).select_by_value("failed")
    failed = [result for result in run.results if result.status == "failed"]
    assert len(page.texts("#matrix tbody .tile.failed")) == len(failed) > 0
    assert set(page.cases()) == {result.name for result in failed}
    page.find("#text").send_keys("nothing is called so")
    assert page.text("#found") == "0 of 18 cases, 0 of 10 models"


def test_opening_by_mouse(show: Any) -> None:
    run = sample_run(6)
    page = show(run)
    wrong = next(result for result in run.results if result.status == "ok" and 0 < (result.accuracy or 0) < 100)
    label = f"{wrong.title}, {wrong.column},"
    page.find(f"#matrix a[aria-label^='{label}']").click()
    page.wait_for("document.querySelector('dialog').open")
    assert page.opened() == wrong.title
    assert page.texts("#detail-body > header p") == [wrong.column]
    assert len(page.texts(".compared tbody tr")) == len(wrong.fields)
    assert len(page.texts(".compared tr.wrong")) == sum(field.score < 1 for field in wrong.fields)
    case = next(case for case in run.cases if case.name == wrong.name)
    parts = {title: page.text(f"pre[aria-label='{title}']") for title in ("Source", "Raw reply", "Prompt")}
    assert parts["Prompt"] == case.prompt
    # Indented by the page, which must not change a digit.
    for title, value in (("Expected", case.expected), ("Actual", wrong.actual)):
        shown = page.js("document.querySelector(arguments[0]).textContent", f"pre[aria-label='{title}']")
        assert shown == json.dumps(value, ensure_ascii=False, indent=2)
    assert parts["Raw reply"] == wrong.reply
    assert parts["Source"].split() == case.source.split()
    facts = page.texts(".facts dt")
    for name in ("origin", "input tokens", "cost", "price", "seconds", "attempts", "finish reason", "cassette"):
        assert name in facts
    page.find(".check input").click()
    assert not any(page.js("[...document.querySelectorAll('.compared .right')].map((row) => row.checkVisibility())"))
    page.find("#detail header button").click()
    page.wait_for("!document.querySelector('dialog').open")
    page.wait_for("location.hash === ''")


def test_opening_by_keyboard(show: Any) -> None:
    page = show(sample_run(6))
    page.js("document.querySelector('#status').focus()")
    page.press(Keys.TAB)
    for _ in range(40):
        if page.js("document.activeElement.matches('#matrix tbody a')"):
            break
        page.press(Keys.TAB)
    page.press(Keys.ARROW_RIGHT)
    page.press(Keys.ARROW_DOWN)
    assert page.place() == [1, 3]
    title = page.cases()[1]
    page.press(Keys.ENTER)
    page.wait_for("document.querySelector('dialog').open")
    assert (page.opened() or "").endswith(title)
    assert page.js("document.querySelector('dialog').contains(document.activeElement)")
    page.press(Keys.ESCAPE)
    page.wait_for("!document.querySelector('dialog').open")
    page.wait_for("document.activeElement.matches('#matrix tbody a')")
    assert page.place() == [1, 3]
    page.press(Keys.END)
    assert page.place() == [1, 11]
    page.press(Keys.HOME)
    assert page.place() == [1, 2]


def test_a_link_leads_to_a_result(show: Any) -> None:
    run = sample_run(6, repeats=2)
    page = show(run)
    page.js("document.querySelectorAll('#matrix tbody a')[7].click()")
    page.wait_for("document.querySelector('dialog').open")
    page.find(".chips a:nth-child(2)").click()
    page.wait_for("location.hash.includes('repeat=2')")
    fragment, title = page.js("location.hash"), page.opened()
    page.load(fragment)
    assert page.opened() == title
    assert page.texts("#detail-body > header p")[0].endswith(", repeat 2")
    page.press(Keys.ESCAPE)
    page.wait_for("!document.querySelector('dialog').open")
    page.wait_for("document.activeElement.matches('#matrix tbody a')")
    page.load("#module=m&case=gone&provider=p&model=x")
    assert page.opened() is None


def test_going_back_closes(show: Any) -> None:
    page = show(sample_run(3))
    page.find("#matrix tbody a").click()
    page.wait_for("document.querySelector('dialog').open")
    page.driver.back()
    page.wait_for("!document.querySelector('dialog').open")


def test_light_and_dark(show: Any) -> None:
    page = show(sample_run(3))
    back = "getComputedStyle(document.body).backgroundColor"
    page.prefer("dark")
    dark = page.js(back)
    # The button says what it does.
    assert page.text("#theme").endswith("Switch to light theme")
    page.find("#theme").click()
    assert page.text("#theme").endswith("Switch to dark theme")
    light = page.js(back)
    assert light != dark
    page.load()
    assert page.js(back) == light
    page.find("#theme").click()
    assert page.js(back) == dark


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_have_contrast(show: Any, theme: str) -> None:
    worse = tuple(model._replace(mistakes=0.2) for model in MODELS)
    page = show(sample_run(9), against=sample_run(9, worse, repeats=2))
    page.prefer(theme)
    assert page.driver.execute_script(CONTRAST) == []
    page.find("#models summary").click()
    Select(page.find("#cells")).select_by_value("reply")
    assert page.driver.execute_script(CONTRAST) == []
    page.js("document.querySelector('#matrix tbody a.s3').click()")
    page.wait_for("document.querySelector('dialog').open")
    assert page.text(".compared thead").count("Its score") == 1
    assert page.driver.execute_script(CONTRAST) == []


def test_hostile_replies_do_nothing(show: Any) -> None:
    page = show(hostile_run(), against=hostile_run())
    Select(page.find("#cells")).select_by_value("reply")
    assert len(page.texts("#matrix tbody a")) == len(HOSTILE)
    for place in range(len(HOSTILE)):
        page.js("document.querySelectorAll('#matrix tbody a')[arguments[0]].click()", place)
        page.wait_for("document.querySelector('dialog').open")
        reply = page.js("document.querySelector(\"pre[aria-label='Raw reply']\").textContent")
        assert reply in HOSTILE
        page.press(Keys.ESCAPE)
        page.wait_for("!document.querySelector('dialog').open && location.hash === '#cells=reply'")
    page.js("document.querySelectorAll('#fields details').forEach((block) => { block.open = true; })")
    assert page.js("window.hacked") is None
    assert page.js("document.querySelectorAll('img, iframe, object, embed').length") == 0
    assert page.js("document.querySelectorAll('script').length") == 3


def test_nothing_is_asked_of_any_network(show: Any) -> None:
    page = show(sample_run(6))
    page.js("document.querySelector('#matrix tbody a').click()")
    page.wait_for("document.querySelector('dialog').open")
    assert page.js("performance.getEntriesByType('resource').length") == 0


def test_a_phone_scrolls_only_in_the_tables(show: Any) -> None:
    page = show(sample_run(6, repeats=2), against=sample_run(6, seed=5))
    as_phone(page)
    width = "[document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]"
    assert page.js(width) == [375, 375, 375]
    assert page.js("document.querySelector('#matrix').scrollWidth > 375")
    page.js("document.querySelector('#matrix').scrollLeft = 300")
    assert page.js("document.querySelector('#matrix tbody th').getBoundingClientRect().left") < 30
    page.js("document.querySelector('#matrix tbody a').click()")
    page.wait_for("document.querySelector('dialog').open")
    assert page.js(width) == [375, 375, 375]
    assert page.js("document.querySelector('dialog').scrollWidth") == 375


def test_the_plot(show: Any) -> None:
    results = [
        one(model="free", usage=priced(0.0), accuracy=50.0),
        one(model="cheap", usage=priced(0.001), accuracy=80.0),
        one(model="beaten", usage=priced(0.01), accuracy=70.0),
        one(model="dear", usage=priced(0.5), accuracy=95.0),
        one(model="unpriced", usage=priced(None), accuracy=99.0),
    ]
    page = show(run_of(*results))
    page.wait_for("document.querySelector('.point')")
    labels = page.js(
        "[...document.querySelectorAll('.point')].map((point) => [point.ariaLabel, point.classList.length])"
    )
    assert {label.split(",")[0].split(":")[-1]: classes == 2 for label, classes in labels} == {
        "beaten": False,
        "free": True,
        "cheap": True,
        "dear": True,
    }
    assert "free" in page.js("[...document.querySelectorAll('#scatter .tick')].map((tick) => tick.textContent)")
    assert "logarithmic" in page.js("document.querySelector('#scatter').textContent")
    assert "p:unpriced: accuracy 99, cost unknown" in page.text("#unpriced")
    page.js("document.querySelector('.point').focus()")
    assert "p:beaten" in page.text("#tip")


def test_repeats_show_mean_spread_and_number(show: Any) -> None:
    results = [one(accuracy=70.0 + 10 * place, usage=priced(None), repeat=place) for place in (1, 2, 3)]
    page = show(run_of(*results, one(status="failed", repeat=4), repeats=4))
    assert page.texts("#matrix tbody a") == ["90\n±10 · 3×\n1 failed"]


def test_rows_are_made_as_they_are_scrolled_to(show: Any) -> None:
    page = show(sample_run(600, MODELS[:3]))
    made = len(page.cases())
    assert made < 600
    for _ in range(20):
        page.js("document.querySelector('#matrix').scrollBy(0, 1e6)")
    page.wait_for("document.querySelectorAll('#matrix tbody tr').length === 600")


def test_a_run_without_results_opens(show: Any) -> None:
    page = show(run_of())
    assert page.text(".models tbody") == "The run has no results."
    assert page.visible("main h2") == ["Models"]


def test_one_model_is_compared_with_none(show: Any) -> None:
    run = sample_run(3, MODELS[:1])
    page = show(run)
    assert page.visible("main h2") == ["Models", "Cases", "Fields"]
    assert page.visible(".rank") == []
    assert page.texts("#matrix thead th button") == ["Case▲", "openai\ngpt-5"]
    assert page.text("#found") == "3 of 3 cases"
    page.find("#matrix tbody a").click()
    page.wait_for("document.querySelector('dialog').open")
    assert page.visible(".chips, .beside") == []


def test_without_costs_the_plot_shows_seconds(show: Any) -> None:
    usages = [priced(0.0, elapsed_seconds=seconds) for seconds in (1.0, 4.0)]
    page = show(run_of(*[one(model=f"m{n}", accuracy=90.0 + n, usage=usage) for n, usage in enumerate(usages)]))
    page.wait_for("document.querySelector('.point')")
    assert page.text("#scatter-title") == "Accuracy against time"
    assert "seconds a case" in page.js("document.querySelector('#scatter').textContent")
    assert "$" not in page.js("document.querySelector('#scatter').textContent")


def test_without_costs_and_seconds_there_is_no_plot(show: Any) -> None:
    page = show(run_of(*[one(model=name, accuracy=90.0, usage=priced(usd)) for name, usd in (("x", 0.0), ("y", None))]))
    assert page.visible("main h2") == ["Models", "Cases", "Fields"]


def test_no_point_hides_another(show: Any) -> None:
    results = [one(provider="p", model=str(n), accuracy=100.0, usage=priced(0.01)) for n in range(8)]
    page = show(run_of(*results))
    page.wait_for("document.querySelectorAll('.point').length === 8")
    centres = page.js(
        "[...document.querySelectorAll('.point circle')].map((circle) => circle.getBoundingClientRect())"
        ".map((box) => [box.left + box.width / 2, box.width])"
    )
    places = sorted(centre for centre, _ in centres)
    assert all(two - one >= 0.8 * centres[0][1] for one, two in pairwise(places))


def test_fields_have_their_types_and_rules(show: Any) -> None:
    page = show(sample_run(3, MODELS[:2]))
    fields = dict(text.split("\n", 1) for text in page.texts("#fields tbody th") if "\n" in text)
    assert fields["issued_on"].startswith("string (date), compared as ")
    assert fields["currency"] == "one of EUR, USD, GBP, compared as text"
    assert fields["number"] == "string, compared as text\nAs it is printed."
    assert fields["seller.vat_id"] == "string or null, compared as text\nWith the code of its country."
    assert fields["lines[].unit_price"] == "number, compared as number\nIn the invoice's currency, without tax."
    page.find("#matrix tbody a").click()
    page.wait_for("document.querySelector('dialog').open")
    opened = dict(text.split("\n", 1) for text in page.texts(".compared tbody th"))
    assert opened["lines[0].unit_price"] == "number\nIn the invoice's currency, without tax."


def test_cells_show_replies_and_values(show: Any) -> None:
    run = sample_run(3, MODELS[:2])
    page = show(run)
    Select(page.find("#cells")).select_by_value("reply")
    first = next(result for result in run.results if result.title.endswith(page.cases()[0]))
    shown = page.texts("#matrix tbody .output")[0]
    assert json.dumps(first.actual, ensure_ascii=False, separators=(",", ":")).startswith(shown.rstrip("…")[:150])
    Select(page.find("#cells")).select_by_value("field:currency")
    cells = page.texts("#matrix tbody a")
    scored = [field for result in run.results for field in result.fields if field.path == "currency"]
    values = [field.actual or "—" for field in scored]
    assert sorted(text.strip('"') for text in cells if text != "·") == sorted(values)
    assert "EUR" in page.js("document.querySelector('#matrix tbody a').ariaLabel")
    Select(page.find("#cells")).select_by_value("accuracy")
    assert page.texts("#matrix tbody .output") == []


def test_a_link_leads_to_what_is_shown(show: Any) -> None:
    page = show(sample_run(18))
    page.find("#text").send_keys("e")
    Select(page.find("#module")).select_by_value("invoices")
    Select(page.find("#cells")).select_by_value("field:total")
    page.find("#models summary").click()
    for place in (2, 5):
        page.find(f"#models label:nth-child({place}) input").click()
    page.find("#matrix thead th:nth-child(3) button").click()
    page.find("#theme").click()
    page.find("#matrix tbody a").click()
    page.wait_for("document.querySelector('dialog').open")
    Select(page.find(".beside select")).select_by_index(1)
    fragment, state = page.js("location.hash"), what_is_shown(page)
    page.js("localStorage.clear()")
    page.load(fragment)
    assert what_is_shown(page) == state
    assert page.js("location.hash") == fragment
    # Unknown names are passed over.
    page.load("#in=gone&show=no:model&sort=no:model&cells=field:gone&status=odd&theme=pink&with=gone")
    assert page.text("#found") == "18 of 18 cases, 10 of 10 models"


def test_going_back_and_forward_keeps_the_filter(show: Any) -> None:
    page = show(sample_run(6))
    Select(page.find("#module")).select_by_value("invoices")
    page.find("#matrix tbody a").click()
    page.wait_for("document.querySelector('dialog').open")
    title = page.opened()
    page.driver.back()
    page.wait_for("!document.querySelector('dialog').open")
    assert page.text("#found") == "2 of 6 cases, 10 of 10 models"
    page.driver.forward()
    page.wait_for("document.querySelector('dialog').open")
    assert page.opened() == title
    page.press(Keys.ESCAPE)
    page.wait_for("location.hash === '#in=invoices'")


def test_a_result_that_is_opened_again_at_once_stays_open(show: Any) -> None:
    page = show(sample_run(6))
    page.find("#matrix tbody a").click()
    page.wait_for("document.querySelector('dialog').open")
    title = page.opened()
    page.driver.execute_script("const panel = document.querySelector('dialog'); panel.close(); panel.showModal();")
    page.wait_for("new Promise((done) => setTimeout(() => done(true)))")
    assert page.opened() == title
    page.wait_for("location.hash.includes('case=')")
    page.press(Keys.ESCAPE)
    page.wait_for("!document.querySelector('dialog').open && location.hash === ''")


def changed_runs() -> tuple[RunResult, RunResult]:
    """An earlier run and a run, whose cases are named for what became of them."""
    scores = {"fixed": (50.0, 100.0), "broken": (100.0, 90.0), "better": (50.0, 75.0), "worse": (75.0, 50.0)}
    scores |= {"same": (80.0, 80.0)}
    wanted = {"name": "lamp", "price": 3, "size": None}

    def result(name: str, accuracy: float, actual: dict[str, Any]) -> Any:
        fields = tuple(compare(wanted, actual).fields)
        return one(name=name, accuracy=accuracy, actual=actual, reply=str(actual), fields=fields, usage=priced(0.1))

    then = [result(name, before, {"name": "lump", "size": "XL"}) for name, (before, _) in scores.items()]
    now = [result(name, after, {"name": "lamp", "price": 4}) for name, (_, after) in scores.items()]
    lost = one(name="lost", status="failed", problem="timed out")
    cases = [CaseRecord(module="m", name=name, prompt="Now.") for name in scores]
    asked = [case.model_copy(update={"prompt": "Then."}) for case in cases]
    before = run_of(*then, result("lost", 50.0, {}), run_id="r0", cases=tuple(asked))
    return before, run_of(*now, lost, one(name="added", accuracy=1.0, usage=priced(0.1)), cases=tuple(cases))


def test_two_runs_side_by_side(show: Any) -> None:
    before, run = changed_runs()
    page = show(run, against=before)
    cells = dict(zip(page.cases(), page.texts("#matrix tbody a"), strict=True))
    assert cells == {
        "added": "1",
        "better": "75\n▲ better, was 50",
        "broken": "90\n▼ broken, was 100",
        "fixed": "100\n▲ fixed, was 50",
        "lost": "▼ broken, was 50\nfailed",
        "same": "80",
        "worse": "50\n▼ worse, was 75",
    }
    Select(page.find("#change")).select_by_value("broken")
    assert page.cases() == ["broken", "lost"]
    page.find("#matrix tbody a").click()
    page.wait_for("document.querySelector('dialog').open")
    rows = page.js(
        "[...document.querySelectorAll('.compared tr')].map((row) => [...row.cells].map((c) => c.innerText))"
    )
    assert [row[:6] for row in rows] == [
        ["Field", "Expected", "Actual", "Score", "earlier run", "Its score"],
        ["name", '"lamp"', '"lamp"', "1", '"lump"', "0.75"],
        ["price", "3", "4", "0", "—", "0"],
        ["size", "—", "—", "—", '"XL"', "0"],
    ]
    assert page.texts("#detail mark") == ["u", "3", "4"]
    for title, shown in (("Raw reply", "'lamp', 'price': 4"), ("Raw reply, earlier run", "'lump'")):
        assert shown in page.text(f"pre[aria-label='{title}']")
    assert [page.text(f"pre[aria-label='Prompt{which}']") for which in ("", ", earlier run")] == ["Now.", "Then."]
    Select(page.find(".beside select")).select_by_value("none")
    assert "earlier" not in page.text("#detail-body").partition("fields differ")[2]
    assert "with=none" in page.js("location.hash")


def test_two_models_side_by_side(show: Any) -> None:
    page = show(sample_run(3, MODELS[:3]))
    page.find("#matrix tbody a").click()
    page.wait_for("document.querySelector('dialog').open")
    assert "Its score" not in page.texts(".compared thead th")
    Select(page.find(".beside select")).select_by_index(2)
    name = page.js("document.querySelector('.beside select').value")
    assert page.texts(".compared thead th")[4] == name.split(":")[1]
    assert page.js("document.activeElement.matches('.beside select')")


def test_the_link_to_a_cassette_opens_it(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """From a report that the command wrote: replayed from the repository's recordings."""
    for name in ("cases", "cassettes"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "config.json", tmp_path)
    run_script("llm-tester", "run", "--output", "out/here", "--record", "none", cwd=tmp_path)
    report = tmp_path / "out/here/report.html"
    assert str(tmp_path) not in report.read_text("utf-8")
    page = Page(browser, report.as_uri())
    page.find("#matrix tbody a").click()
    page.wait_for("document.querySelector('dialog').open")
    link = page.js("document.querySelector('.facts a').href")
    assert Path(unquote(urlparse(link).path)).read_text("utf-8").startswith("format: 1\nmetadata:")


def test_without_scripts_the_tables_are_there(show: Any) -> None:
    page = show(sample_run(3))
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.load()
        shown = page.text("body")
    finally:
        page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "Without JavaScript this table" in shown
    assert "Search" not in shown
