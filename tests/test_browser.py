"""The page of a report in a real Chromium: what a reader clicks, types and points at."""

import copy
import json
import shutil
import time

import pytest
from test_html import HOSTILE, make_page_runs, values_of

from results import html
from results.reporting import Options, report

pytestmark = pytest.mark.browser

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no chromium with its chromedriver on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.chrome.service.Service(driver)
    found = webdriver.Chrome(options=options, service=service)
    yield found
    found.quit()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report with its files, from records with failed, unsupported and missing cells."""
    runs = tmp_path_factory.mktemp("runs")
    make_page_runs(runs)
    out = runs / "report"
    report([runs], out, options=Options(formats=("csv", "latex", "html"), figures=()))
    return out


@pytest.fixture
def page(browser, made):
    wide(browser, 1280)
    return open_page(browser, made / "report.html")


def open_page(browser, path):
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # what another page left
    browser.get(path.as_uri())
    return browser


def until(check):
    """Wait up to 5 seconds for what a click leads to."""
    for _ in range(100):
        if check():
            return True
        time.sleep(0.05)
    return False


def counts(page, number):
    return until(lambda: find(page, "#shown").text == f"{number} of 12 rows")


def wide(browser, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def find(page, selector):
    return page.find_element("css selector", selector)


def texts(page, selector):
    script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
    return page.execute_script(script, selector)


def column(page, name):
    return texts(page, f"#board td[data-name={name}]")


def test_no_error_and_no_request_beyond_the_file(page, made):
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [
        e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
    ]
    assert page.get_log("browser") == []
    assert {url for url in asked if not url.startswith("data:")} == {
        (made / "report.html").as_uri()
    }


def test_every_entry_and_every_reason_is_shown(page):
    assert find(page, "#summary").text.startswith("Cells: 15 done, 2 n/a, 1 failed.")
    assert find(page, "#shown").text == "12 of 12 rows"
    scores = column(page, "score")
    assert scores[:2] == ["21.0 ± 1.4", "15.0 ± 7.1"]
    assert sorted(scores[-3:]) == ["failed", "missing", "n/a"]
    assert "best" in column(page, "standing")[0]


def test_headers_sort_by_mouse_and_by_keyboard(page):
    from selenium.webdriver.common.keys import Keys

    head = "#board th:has(button)"
    names = texts(page, head)
    button = page.find_elements("css selector", "#board th .sort")[names.index("Score")]
    button.click()
    values = [float(text.split()[0]) for text in column(page, "score")[:-3]]
    assert values == sorted(values, reverse=True)
    assert column(page, "score")[-3:] != []
    button.send_keys(Keys.ENTER)
    rising = [float(text.split()[0]) for text in column(page, "score")[:-3]]
    assert rising == sorted(values)
    assert {"failed", "missing", "n/a"} == set(column(page, "score")[-3:])  # last both ways
    assert find(page, "#board th[aria-sort]").get_attribute("aria-sort") == "ascending"


def test_search_and_choices_filter_together(page):
    from selenium.webdriver.support.select import Select

    find(page, "#search").send_keys("lora")
    assert counts(page, 4)
    Select(find(page, "#filter-dataset")).select_by_visible_text("a")
    assert counts(page, 2)
    assert set(column(page, "method")) == {"lora"}
    find(page, "#filters .reset").click()
    assert counts(page, 12)
    Select(find(page, "#filter-state")).select_by_visible_text("failed")
    assert until(lambda: column(page, "score") == ["failed"])


def test_pointing_at_a_point_or_focusing_it_tells_its_numbers(page):
    from selenium.webdriver.common.action_chains import ActionChains

    tip = find(page, "#tip")
    assert not tip.is_displayed()
    hit = find(page, "details[data-name=a] .hit")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", hit)
    ActionChains(page).move_to_element(hit).perform()
    assert tip.is_displayed()
    assert "kappa x 100: 15.0 ± 7.1\n2 seeds" in tip.text
    assert page.execute_script("return document.querySelectorAll('.series.dim').length") > 0
    ActionChains(page).move_to_element(find(page, "#h-datasets")).perform()
    assert not tip.is_displayed()
    page.execute_script("arguments[0].focus()", hit)
    assert tip.is_displayed()


def test_the_legend_hides_a_method(page):
    def count():
        return len(page.find_elements("css selector", "details[data-name=a] .chart .series"))

    before = count()
    button = find(page, "details[data-name=a] .legend button")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    assert (count(), button.get_attribute("aria-pressed")) == (before - 1, "false")


def test_another_section_draws_when_it_is_opened(page):
    section = find(page, "details[data-name=b]")
    assert not section.find_elements("css selector", "svg")
    summary = section.find_element("css selector", "summary")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", summary)
    summary.click()
    assert until(lambda: section.find_elements("css selector", ".hit"))


def test_downloads_are_the_files_beside_the_page(page, made, tmp_path):
    place = {"behavior": "allow", "downloadPath": str(tmp_path)}
    page.execute_cdp_cmd("Browser.setDownloadBehavior", place)
    for name in ("table.csv", "statistics.csv", "table.tex"):
        find(page, f"#files a[download='{name}']").click()
        wanted = tmp_path / name
        assert until(lambda wanted=wanted: wanted.exists() and wanted.stat().st_size > 0)
        if name.endswith("csv"):
            assert wanted.read_text() == (made / name).read_text()
        else:
            assert r"\toprule" in wanted.read_text()


def test_a_phone_scrolls_down_only_and_can_still_sort(browser, made):
    from selenium.webdriver.support.select import Select

    wide(browser, 360)
    page = open_page(browser, made / "report.html")
    for section in page.find_elements("css selector", "details"):
        page.execute_script("arguments[0].open = true", section)
    assert until(lambda: len(page.find_elements("css selector", ".chart svg[role=group]")) == 4)
    assert page.execute_script("return document.documentElement.scrollWidth") <= 360
    Select(find(page, "#order")).select_by_visible_text("Score, rising")
    assert until(lambda: column(page, "score")[0].startswith("5.0"))
    first = find(page, "#board tbody tr")
    assert first.size["width"] <= 340
    assert find(page, "#board td[data-name=score]").is_displayed()


def test_names_from_records_never_become_markup(page):
    assert page.execute_script("return window.taken") is None
    assert HOSTILE in column(page, "dataset")
    assert page.get_log("browser") == []


def test_two_thousand_cells_stay_small_and_quick(browser, tmp_path, capsys):
    values = many(values_of(tmp_path / "runs"), 2000)
    path = tmp_path / "many.html"
    path.write_text(html.page(values))
    assert path.stat().st_size < 8e6
    wide(browser, 1280)
    page = open_page(browser, path)
    assert find(page, "#shown").text == "2000 of 2000 rows"
    assert len(column(page, "method")) == 300
    find(page, "#more").click()
    assert len(column(page, "method")) == 2000
    ready = page.execute_script("return document.documentElement.dataset.ready")
    with capsys.disabled():
        size = path.stat().st_size / 1e3
        print(f"\n2000 entries: {size:.0f} kB, interactive after {ready} ms")


def many(values, count):
    """Return the page's values with `count` entries: 20 methods, as many columns as it takes."""
    table = values["tables"][0]
    first = table["methods"][0]
    table["methods"] = [{**first, "spec": f"m{i}", "name": f"m{i}"} for i in range(20)]
    column = table["columns"][0]
    table["columns"] = [
        {**copy.deepcopy(column), "dataset": f"set{i // 4}", "labels": 10 + 10 * (i % 4)}
        for i in range(count // 20)
    ]
    score = [50.0, 1.0, 3, "", "", 1]
    table["scores"] = [[[*score] for _ in table["columns"]] for _ in table["methods"]]
    return values
