"""A run in a notebook: the matrix, in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="the package selenium is not installed")

import chromium
from report_pages import hostile_run
from report_sample import sample_run
from selenium import webdriver
from test_html_browser import CONTRAST

from llm_tester.runs.results import RunResult

pytestmark = pytest.mark.skipif(chromium.missing() is not None, reason=chromium.missing() or "")

# How JupyterLab, VS Code and Colab mark their themes.
THEMES = [
    ("light", "<body data-jp-theme-light='true'>"),
    ("dark", "<body data-jp-theme-light='false'>"),
    ("light", "<body class='vscode-light'>"),
    ("dark", "<body class='vscode-dark'>"),
    ("light", "<html theme='light'><body>"),
    ("dark", "<html theme='dark'><body>"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = chromium.open_chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


def show(browser: webdriver.Chrome, run: RunResult, folder: Path, body: str = "<body>") -> None:
    path = folder / "notebook.html"
    path.write_text(f"<!doctype html><meta charset='utf-8'>{body}{run._repr_html_()}", "utf-8", "xmlcharrefreplace")
    browser.get(path.as_uri())


def test_it_has_the_cases_the_models_and_the_colours(browser: webdriver.Chrome, tmp_path: Path) -> None:
    run = sample_run()
    show(browser, run, tmp_path)
    rows = browser.execute_script("return [...document.querySelectorAll('tbody tr')].map(row => row.innerText)")
    assert [row.split("\t")[0] for row in rows] == list(dict.fromkeys(result.title for result in run.results))
    heads = browser.execute_script("return document.querySelector('thead').innerText")
    assert all(result.model in heads for result in run.results)
    colours = browser.execute_script(
        "return [...document.querySelectorAll('td')].map(one => [one.innerText, getComputedStyle(one).backgroundColor])"
    )
    by_text = dict(colours)
    assert by_text["100"] == "rgb(30, 107, 163)"
    assert by_text["failed"] == by_text["skipped"] != by_text["100"]


@pytest.mark.parametrize(("theme", "body"), THEMES)
def test_it_is_legible_in_the_theme_of_the_notebook(
    theme: str, body: str, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    show(browser, sample_run(), tmp_path, body)
    assert browser.execute_script(CONTRAST) == []
    card = browser.execute_script("return getComputedStyle(document.querySelector('.llm-tester')).backgroundColor")
    assert card == {"light": "rgb(255, 255, 255)", "dark": "rgb(24, 28, 34)"}[theme]


def test_a_wide_matrix_scrolls_in_a_narrow_notebook(browser: webdriver.Chrome, tmp_path: Path) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 900, "deviceScaleFactor": 1, "mobile": True}
    )
    show(browser, sample_run(), tmp_path, "<meta name='viewport' content='width=device-width'><body>")
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    assert browser.execute_script("const one = document.querySelector('.llm-tester'); return one.scrollWidth") > 390
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_hostile_texts_are_only_texts(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """It runs no script, loads nothing, and shows names of cases and models as they are."""
    run = hostile_run()
    show(browser, run, tmp_path)
    tags = set(browser.execute_script("return [...document.querySelectorAll('body *')].map(one => one.tagName)"))
    assert tags <= {"DIV", "STYLE", "TABLE", "CAPTION", "THEAD", "TBODY", "TR", "TH", "TD", "SPAN", "BR", "B", "P"}
    assert [entry for entry in browser.get_log("browser") if "favicon" not in entry["message"]] == []
    assert not re.search(r"""(src|href)=|url\(|\bon\w+=["']""", re.sub(r">[^<]*<", "><", run._repr_html_()))


def test_many_cases_are_cut_and_counted() -> None:
    run = sample_run(cases=30)
    many = [result.model_copy(update={"name": f"case{number}"}) for number in range(250) for result in run.results[:2]]
    shown = run.model_copy(update={"results": tuple(many)})._repr_html_()
    assert shown.count('<tr><th scope="row">') == 201
    assert "50 more cases are in the HTML report" in shown
