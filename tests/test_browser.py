"""The page of a report in a real Chromium: what a reader clicks, types and points at."""

import base64
import copy
import io
import json
import re
import shutil
import time
from urllib.parse import parse_qsl, urlencode

import pytest
from PIL import Image
from test_html import HOSTILE, contents_of, make_detailed_runs, make_page_runs, values_of

from benchmark.core.files import MADE
from benchmark.sweep.grid import flags_of
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
    options = Options(formats=("csv", "latex", "html"), figures=("parameters",), command=flags_of)
    report([runs], out, options=options)
    return out


@pytest.fixture(scope="module")
def detailed(tmp_path_factory):
    """A page with stored predictions, thumbnails among them."""
    runs = tmp_path_factory.mktemp("detailed")
    make_detailed_runs(runs)
    picture = io.BytesIO()
    Image.new("L", (8, 8), 90).save(picture, "JPEG")
    found = html.Outside(thumbnails=lambda name, data, ids: dict.fromkeys(ids, picture.getvalue()))
    path = runs / "page.html"
    path.write_text(html.page(contents_of(runs, found)))
    return path


@pytest.fixture
def page(browser, made):
    wide(browser, 1280)
    return open_page(browser, made / "report.html")


def open_page(browser, path, **chosen):
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # what another page left
    browser.get("about:blank")  # a change of the hash alone would not load the page again
    browser.get(f"{path.as_uri()}#{urlencode(chosen)}")
    return browser


def until(check):
    """Wait up to 5 seconds for what a click leads to."""
    for _ in range(100):
        if check():
            return True
        time.sleep(0.05)
    return False


def wide(browser, width, height=900):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def find(page, selector):
    return page.find_element("css selector", selector)


def texts(page, selector):
    script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
    return page.execute_script(script, selector)


def methods(page):
    return texts(page, "#pivot > .scroll tbody th")


def column(page, name):
    return texts(page, f"#pivot > .scroll tbody td[data-name={name}]")


def head(page, label):
    labels = texts(page, "#pivot > .scroll .sort")
    return page.find_elements("css selector", "#pivot > .scroll .sort")[labels.index(label)]


def choose(page, box, label):
    from selenium.webdriver.support.select import Select

    Select(find(page, box)).select_by_visible_text(label)


def hash_of(page):
    return dict(parse_qsl(page.execute_script("return location.hash").lstrip("#")))


def test_no_error_and_no_request_beyond_the_file(page, made):
    find(page, "#pivot .cell").click()
    page.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    assert until(lambda: find(page, "#figures img").get_attribute("src").startswith("blob:"))
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [
        e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
    ]
    assert page.get_log("browser") == []
    outside = {url for url in asked if not url.startswith(("data:", "blob:", "about:"))}
    assert {url.partition("#")[0] for url in outside} == {(made / "report.html").as_uri()}


def test_it_opens_on_methods_and_columns_without_gaps(page):
    assert find(page, "#summary").text.startswith("Cells: 15 done, 2 n/a, 1 failed.")
    assert methods(page) == ["full"]  # the others lack a column
    assert "2 methods without a score in some of them are hidden" in find(page, "#shown").text
    find(page, "#showgaps").click()
    assert sorted(methods(page)) == ["full", "linear", "lora"]
    # columns by data set: a 10 %, a 40 %, b, and the one whose name is markup
    row = dict(zip(methods(page), column(page, "c0"), strict=True))
    assert row == {"full": "15.0 ± 7.1=", "linear": "5.0 ± 0.0=", "lora": "21.0 ± 1.4"}
    assert sorted(column(page, "c2")) == ["30.5 ± 0.7", "failed", "n/a"]
    assert "missing" in column(page, "c1")


def test_data_set_and_labels_have_their_own_ranks_and_averages(page):
    choose(page, "#set", "a")
    assert until(lambda: len(methods(page)) == 2)
    assert methods(page) == ["lora", "full"]  # by rank, which the page was given
    assert [text.split()[0] for text in column(page, "rank")] == ["1.3", "1.8"]
    assert column(page, "mean")[0].startswith("35.5")
    assert " to " in column(page, "mean")[0]  # the interval
    choose(page, "#share", "40%")
    assert until(lambda: not page.find_elements("css selector", "td[data-name=rank]"))
    assert column(page, "c1") == ["50.0 ± 0.0", "50.0 ± 14.1"]
    choose(page, "#metric", "Accuracy")
    assert until(lambda: column(page, "c1") == ["50.0 ± 0.0", "50.0 ± 0.0"])


def test_headers_sort_by_mouse_and_by_keyboard(browser, made):
    from selenium.webdriver.common.keys import Keys

    wide(browser, 1280)
    page = open_page(browser, made / "report.html", gaps="1")
    assert methods(page) == ["lora", "full", "linear"]  # without ranks by the first column
    head(page, "Trained").click()
    assert methods(page) == ["linear", "lora", "full"]
    assert find(page, "#pivot th[aria-sort]").get_attribute("aria-sort") == "ascending"
    head(page, "Trained").send_keys(Keys.ENTER)
    assert until(lambda: methods(page) == ["full", "lora", "linear"])
    assert hash_of(page)["sort"] == "trained down"
    head(page, "40% (40)").click()
    assert column(page, "c1")[-1] == "missing"
    head(page, "40% (40)").click()
    assert column(page, "c1")[-1] == "missing"  # last both ways


def test_what_is_chosen_is_in_the_address_and_back_goes_back(page, made):
    choose(page, "#share", "10%")
    find(page, "#q").send_keys("lo fu")
    find(page, "#gaps").click()
    assert until(lambda: hash_of(page) == {"share": "10%", "q": "lo fu", "gaps": "1"})
    assert sorted(methods(page)) == ["full", "lora"]
    shared = open_page(page, made / "report.html", **hash_of(page))
    assert sorted(methods(shared)) == ["full", "lora"]
    assert find(shared, "#q").get_attribute("value") == "lo fu"
    assert find(shared, "#gaps").is_selected()
    choose(shared, "#share", "40%")
    shared.back()
    assert until(lambda: hash_of(shared)["share"] == "10%")
    assert until(lambda: find(shared, "#share").get_attribute("value") == "10%")
    find(shared, "#reset").click()
    assert until(lambda: hash_of(shared) == {})


def test_the_header_and_the_names_stay_in_sight(browser, tmp_path):
    path = tmp_path / "many.html"
    path.write_text(html.page(many(values_of(tmp_path / "runs"), 2000)))
    for width in (390, 1440):
        wide(browser, width, height=500)
        page = open_page(browser, path)
        box = find(page, "#pivot > .scroll")
        page.execute_script("arguments[0].scrollTo(3000, 3000)", box)
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
        top, left = (
            page.execute_script(
                "const [a, b] = [arguments[0], arguments[1]].map((e) => e.getBoundingClientRect());"
                "return a[arguments[2]] - b[arguments[2]]",
                find(page, f"#pivot > .scroll {inner}"),
                box,
                side,
            )
            for inner, side in (("thead", "top"), ("tbody tr:last-child th", "left"))
        )
        assert (abs(top) <= 1, abs(left) <= 1) == (True, True), width


def test_a_score_opens_its_runs_and_its_command(page):
    find(page, "#showgaps").click()
    place = methods(page).index("full")
    page.find_elements("css selector", "#pivot td[data-name=c0] .cell")[place].click()
    assert until(lambda: find(page, "#entry").is_displayed())
    assert find(page, "#entry h2").text.startswith("full on a, 10% (10)")
    code = find(page, "#entry .command code").text
    assert code.startswith("python -m benchmark run ")
    assert code.endswith(" --split-seeds 0 --seeds 0,1")
    assert len(page.find_elements("css selector", "#entry tbody tr")) == 2
    failed = next(
        b for b in page.find_elements("css selector", "#pivot .cell") if b.text == "failed"
    )
    failed.click()
    assert until(lambda: "failed, seed 0: because" in find(page, "#entry .warn").text)
    assert "because" in find(page, "#failures").text


def test_two_methods_side_by_side(browser, made):
    wide(browser, 1280)
    page = open_page(browser, made / "report.html", gaps="1")
    choose(page, "#a", "full")
    choose(page, "#b", "lora")
    rows = texts(page, "#compare tbody tr")
    assert rows[0].startswith("a 10% (10)15.0 ± 7.121.0 ± 1.4\u22126.0")
    assert "n = 1" in rows[-1]
    page.execute_script("document.querySelector('#compare .filters button').click()")  # swap
    assert until(lambda: "+6.0" in texts(page, "#compare tbody tr")[0])


def test_images_classes_and_curves_of_two_methods(browser, detailed):
    wide(browser, 1440)
    page = open_page(browser, detailed)
    choose(page, "#a", "full")
    choose(page, "#b", "lora")
    assert texts(page, "#compared tbody td[data-name=d]")[:2] == ["+70", "\u221250"]
    assert texts(page, "#compared td[data-name=b]")[0] == "20 no"  # image y is of the class yes
    assert len(page.find_elements("css selector", "#compared .image img")) == 4
    matrices = [t.split("images")[1] for t in texts(page, "#compared .matrix")]
    assert matrices == ["no50506yes01006", "no10006yes50506"]
    assert texts(page, "#compared figcaption") == ["Reliability", "Training loss", "On validation"]
    assert page.get_log("browser") == []


def test_pointing_at_a_point_or_focusing_it_tells_its_numbers(page):
    from selenium.webdriver.common.action_chains import ActionChains

    tip = find(page, "#tip")
    assert not tip.is_displayed()
    hit = find(page, "details[data-name=a] .hit")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", hit)
    ActionChains(page).move_to_element(hit).perform()
    assert tip.is_displayed()
    assert "Kappa x 100: 15.0 ± 7.1\n2 runs" in tip.text
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


def test_every_file_of_the_report_is_offered(page, made, tmp_path):
    place = {"behavior": "allow", "downloadPath": str(tmp_path)}
    page.execute_cdp_cmd("Browser.setDownloadBehavior", place)
    inside, beside = (texts(page, f"#downloads {tag}") for tag in ("button", "a"))
    assert {*inside, *beside} == {p.name for p in made.iterdir()} - {"report.html", MADE}
    assert all(name.endswith((".png", ".pdf")) for name in beside)
    for name in ("table.csv", "statistics.csv", "table.tex"):
        find(page, f"#downloads [data-file='{name}']").click()
        wanted = tmp_path / name
        assert until(lambda wanted=wanted: wanted.exists() and wanted.stat().st_size > 0)
        assert wanted.read_text() == (made / name).read_text()


def test_a_phone_scrolls_down_only(browser, detailed):
    wide(browser, 390)
    page = open_page(browser, detailed, a="0", b="1", entry="0,0")
    for section in page.find_elements("css selector", "details"):
        page.execute_script("arguments[0].open = true", section)
    assert page.execute_script("return document.documentElement.scrollWidth") <= 390
    assert find(page, "#pivot .cell").is_displayed()


def test_a_dark_page_is_dark_and_its_text_is_read(browser, made):
    def lightness(page, selector, name):
        colour = page.execute_script(
            "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]",
            selector,
            name,
        )
        return sum(map(float, re.findall(r"[\d.]+", colour)[:3]))

    wide(browser, 1280)
    for theme in ("light", "dark"):
        page = open_page(browser, made / "report.html", theme=theme)
        behind = lightness(page, "body", "backgroundColor")
        assert (behind > 380) == (theme == "light")
        for selector in ("h1", ".hint", "#pivot tbody th", "#pivot .cell", "caption"):
            assert abs(lightness(page, selector, "color") - behind) > 250, (theme, selector)


def printed(page, tmp_path):
    """Return the text of each page of a PDF."""
    pdfium = pytest.importorskip("pypdfium2", reason="pypdfium2 reads the PDF; not installed")
    found = page.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    pdf = pdfium.PdfDocument(base64.b64decode(found["data"]))
    sizes = {tuple(round(side / 72 * 25.4) for side in sheet.get_size()) for sheet in pdf}
    assert sizes == {(297, 210)}  # A4, across
    return [sheet.get_textpage().get_text_range() for sheet in pdf]


def test_paper_has_tables_and_no_controls(browser, made, tmp_path):
    wide(browser, 1280)
    page = open_page(browser, made / "report.html", gaps="1", theme="dark", a="0", b="1")
    pages = printed(page, tmp_path)
    text = "\n".join(pages)
    assert len(pages) <= 6
    assert "Test scores on tiny_vit, 56 px" in text
    assert "21.0 ± 1.4" in text
    for control in ("Reset", "Press a score", "Downloads", "Compare with another"):
        assert control not in text
    assert not page.find_elements("css selector", ".paper")  # gone after printing


def test_a_wide_table_is_printed_in_parts(browser, tmp_path):
    path = tmp_path / "many.html"
    path.write_text(html.page(many(values_of(tmp_path / "runs"), 600)))  # 30 columns
    text = "\n".join(printed(open_page(browser, path), tmp_path))
    assert "part 4 of 4" in text
    assert text.count("m19") == 4  # the names of methods stand in every part


def test_names_from_records_never_become_markup(browser, made):
    page = open_page(browser, made / "report.html", gaps="1")
    assert page.execute_script("return window.taken") is None
    assert any(HOSTILE in text for text in texts(page, "#pivot th.over"))
    assert page.get_log("browser") == []


def test_two_thousand_entries_are_quick(browser, tmp_path, capsys):
    path = tmp_path / "many.html"
    path.write_text(html.page(many(values_of(tmp_path / "runs"), 2000)))
    wide(browser, 1280)
    page = open_page(browser, path)
    assert len(page.find_elements("css selector", "#pivot .cell")) == 2000
    ready = page.execute_script("return document.documentElement.dataset.ready")
    with capsys.disabled():
        size = path.stat().st_size / 1e3
        print(f"\n2000 entries: {size:.0f} kB, interactive after {ready} ms")


def many(values, count):
    """Return the page's values with `count` entries: 20 methods, as many columns as it takes."""
    table = values["tables"][0]
    first, column = table["methods"][0], table["columns"][0]
    table["methods"] = [{**first, "spec": f"m{i}", "name": f"m{i}"} for i in range(20)]
    table["columns"] = [
        {**copy.deepcopy(column), "dataset": f"set{i // 4}", "labels": 10 + 10 * (i % 4)}
        for i in range(count // 20)
    ]
    rows = [[[50.0, 1.0, 3, ""] for _ in table["columns"]] for _ in table["methods"]]
    sums = {"rows": [[1.0, 1, 20, 50.0, 45.0, 55.0]] * 20, "decimals": 1}
    sums |= {"friedman": None, "difference": None}
    places = list(range(len(table["columns"])))
    view = {"metric": "", "columns": places, "scores": rows, "sums": {"": sums}}
    table |= {"views": [view], "entries": {}, "runs": {"metrics": [], "found": {}}}
    table |= {"pairs": {"all": True, "found": {}}, "commands": {}}
    return values
