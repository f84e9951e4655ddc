"""The page in a real browser, offline, from its file."""

import re
import shutil
from pathlib import Path

import pytest

from lit_opt.engine.reports.charts import curve_chart
from lit_opt.engine.reports.class_page import class_sections
from lit_opt.engine.reports.page import figure, page, table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    """Debian's chromium, headless and offline; `.ci/run` installs it."""
    webdriver = pytest.importorskip("selenium.webdriver")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("needs chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for word in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    browser.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield browser
    browser.quit()


def opened(browser, page: Path, width: int = 1200, dark: bool = False) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": theme})
    browser.get(page.resolve().as_uri())
    from selenium.webdriver.support.ui import WebDriverWait

    charts = "return document.querySelectorAll('.chart').length"
    drawn = "return document.querySelectorAll('.chart svg').length"
    WebDriverWait(browser, 30).until(lambda b: b.execute_script(drawn) == b.execute_script(charts))
    assert browser.get_log("browser") == []


@pytest.fixture
def report(trained) -> Path:
    return trained("--epochs=3", "--net.hidden=[16]", "--lr=0.01") / "report.html"


def test_curves_are_drawn_and_have_their_text(browser, report):
    opened(browser, report)
    lines = "return document.querySelectorAll('.chart svg .mark-line path[d]').length"
    assert browser.execute_script(lines) >= 6  # two stages of loss and acc, single batches, lr
    labels = "return [...document.querySelectorAll('.chart')].map(c => c.ariaLabel)"
    labels = browser.execute_script(labels)
    assert all("as a table" in label for label in labels)
    tables = browser.find_elements("css selector", "figure details table")
    assert len(tables) == len(labels)
    numbers = tables[0].get_attribute("textContent")
    rows = (report.parent / "metrics.csv").read_text().splitlines()
    place = rows[0].split(",").index("val/loss")
    values = [f"{float(row.split(',')[place]):.4g}" for row in rows[1:] if row.split(",")[place]]
    assert all(value in numbers for value in values)


def test_hovering_a_curve_tells_its_value(browser, report):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.support.ui import WebDriverWait

    opened(browser, report)
    chart = browser.find_element("css selector", ".chart svg")
    ActionChains(browser).move_to_element(chart).perform()
    ActionChains(browser).move_by_offset(-60, -10).perform()
    told = "return document.querySelector('.vg-tooltip.visible')?.textContent || ''"
    text = WebDriverWait(browser, 10).until(lambda b: b.execute_script(told))
    assert "epoch" in text
    assert re.search(r"loss:?\s*[\d.]+", text)


@pytest.mark.parametrize("by", ["click", "Enter"])
def test_a_cell_of_the_matrix_shows_its_samples(browser, report, by):
    from selenium.webdriver.common.keys import Keys

    opened(browser, report)
    region = browser.find_element("id", "cell")
    assert region.get_attribute("aria-live") == "polite"
    assert region.text == ""
    cell = browser.find_element("css selector", ".matrix button.wrong")
    if by == "click":
        cell.click()
    else:
        cell.send_keys(Keys.ENTER)
    true, pred = (cell.get_attribute(f"data-{key}") for key in ("true", "pred"))
    assert f"of {true} predicted as {pred}" in region.text
    titles = [b.text for b in region.find_elements("tag name", "b")]
    assert len(titles) == min(4, int(cell.text))
    assert set(titles) == {f"{true}, predicted {pred}"}
    loaded = "return [...document.querySelectorAll('#cell img')].every(i => i.naturalWidth == 8)"
    assert browser.execute_script(loaded)
    assert cell.get_attribute("aria-pressed") == "true"


def test_the_focus_is_seen(browser, report):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    opened(browser, report)
    ActionChains(browser).send_keys(Keys.TAB).perform()
    width = "return getComputedStyle(document.activeElement).outlineWidth"
    assert browser.execute_script(width) == "3px"


# WCAG 2.1, 1.4.3: (L1 + 0.05) / (L2 + 0.05) of the relative luminances of a text and its ground.
CONTRAST = """
const parse = c => c.match(/[\\d.]+/g).map(Number);
const over = (a, b) => [0, 1, 2].map(k => a[k] * (a[3] ?? 1) + b[k] * (1 - (a[3] ?? 1)));
function ground(element) {
  const layers = [];
  for (let e = element; e; e = e.parentElement)
    layers.push(parse(getComputedStyle(e).backgroundColor));
  return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
}
const luminance = c => c.map(v => v / 255)
  .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
const found = [];
for (const details of document.querySelectorAll("details")) details.open = true;
for (const element of document.querySelectorAll("main *")) {
  const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
  const style = getComputedStyle(element), below = ground(element);
  const colour = element.closest("svg") ? style.fill : style.color;
  if (colour === "none") continue;
  const [a, b] = [over(parse(colour), below), below].map(luminance).sort((p, q) => q - p);
  found.push([(a + 0.05) / (b + 0.05), element.tagName, element.textContent.slice(0, 40)]);
}
return found;
"""


@pytest.mark.parametrize("dark", [False, True])
def test_contrast_is_enough_in_both_themes(browser, report, dark):
    opened(browser, report, dark=dark)
    browser.find_element("css selector", ".matrix button.wrong").click()
    found = browser.execute_script(CONTRAST)
    assert len(found) > 100
    assert {kind for _, kind, _ in found} >= {"BUTTON", "P", "TD", "TH", "DD", "text", "SUMMARY"}
    assert [row for row in found if row[0] < 4.5] == []


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_nothing_is_wider_than_the_page(browser, report, width):
    opened(browser, report, width)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(wide) == 0


def test_the_charts_follow_the_theme(browser, report):
    opened(browser, report)
    colour = "return document.querySelector('.chart svg .mark-line path').getAttribute('stroke')"
    light = browser.execute_script(colour)
    theme = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", theme)
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 10).until(lambda b: b.execute_script(colour) != light)


def test_hostile_names_stay_text_in_cells_legends_and_tooltips(browser, tmp_path):
    from selenium.webdriver import ActionChains
    from test_run_report import HOSTILE, hostile_outcomes

    curves = {HOSTILE: [(0.0, 1.0), (1.0, 2.0)], "b": [(0.0, 1.0), (1.0, 3.0)]}
    chart = figure(HOSTILE, curve_chart(curves, HOSTILE, HOSTILE), table([HOSTILE], [[HOSTILE]]))
    text = page(HOSTILE, [(HOSTILE, chart), *class_sections(hostile_outcomes())])
    (tmp_path / "page.html").write_text(text, "utf-8")
    opened(browser, tmp_path / "page.html")
    browser.find_element("css selector", ".matrix button.wrong").click()
    ActionChains(browser).move_to_element(
        browser.find_element("css selector", ".chart svg")
    ).perform()
    ActionChains(browser).move_by_offset(5, 5).perform()
    assert "alert(1)" in browser.find_element("id", "cell").text
    assert browser.find_elements("css selector", "[onerror], img") == []
    assert browser.get_log("browser") == []  # an alert would raise
