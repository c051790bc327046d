"""Reports in a browser: nothing is loaded, nothing fails, nothing is wider than the window, figures have names."""

import json
import shutil
from itertools import product

import pages
import pytest

from qmcnet.report.page.render import write_page
from qmcnet.run.record import read_record

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install 'qmcnet[browser]'")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
FLAGS += ["--enable-unsafe-swiftshader"]  # WebGL without a GPU
WIDTHS = (400, 1400)
SCHEMES = ("light", "dark")
FIGURES = "svg[role=img], .viewer"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def written(uninterrupted, tmp_path_factory):
    """Pages of a molecule with diffusion, of several states, of a run that failed and of all of them, by name."""
    folder = tmp_path_factory.mktemp("pages")
    molecule = pages.molecular(folder / "molecule", uninterrupted)
    pages.diffused(molecule)
    states = shutil.copytree(uninterrupted, folder / "states")
    pages.excited(states)
    failed = pages.molecular(folder / "failed", uninterrupted)
    (failed / "result.json").unlink()
    (failed / "train.log").write_text("[now] ERROR error: the energy is lost\n")
    found = {name: folder / f"{name}.html" for name in ("molecule", "states", "failed", "several")}
    for name in ("molecule", "states", "failed"):
        write_page([read_record(folder / name)], found[name])
    write_page([read_record(folder / name) for name in ("molecule", "failed")], found["several"])
    return found


class Visit:
    """A page in a window, and all that it asked for or complained about."""

    def __init__(self, browser, path, **settings):
        self.context = browser.new_context(offline=True, **settings)
        self.page, self.asked, self.complaints = self.context.new_page(), [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else 0)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri())

    def drawn(self):
        """Wait until all molecules are drawn."""
        self.page.wait_for_function("[...document.querySelectorAll('.viewer')].every((place) => place.dataset.shown)")
        return self.page.locator(".viewer canvas").count()

    def at_rest(self, place):
        """What a place looks like once it has stopped changing."""
        seen = [place.screenshot()]
        while len(seen) < 2 or seen[-1] != seen[-2]:
            self.page.wait_for_timeout(200)
            seen.append(place.screenshot())
            assert len(seen) < 50
        return seen[-1]

    def close(self):
        self.context.close()


@pytest.mark.parametrize("name", ["molecule", "states", "failed", "several"])
def test_a_page_asks_for_nothing_and_fits_every_window(name, written, browser):
    visit, colors = Visit(browser, written[name]), set()
    assert visit.drawn() == visit.page.locator(".viewer").count()
    for width, scheme in product(WIDTHS, SCHEMES):
        visit.page.set_viewport_size({"width": width, "height": 900})
        visit.page.emulate_media(color_scheme=scheme)
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        colors.add(visit.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert visit.asked == [written[name].as_uri()]
    assert visit.complaints == []
    visit.close()
    assert len(colors) == len(SCHEMES)
    assert written[name].stat().st_size < 0.7e6


def test_figures_have_names_and_take_the_colour_of_the_text(written, browser):
    visit = Visit(browser, written["molecule"], color_scheme="dark")
    figures = visit.page.locator(FIGURES)
    assert figures.count() >= 4
    for figure in figures.all():
        label = figure.get_attribute("aria-label") or figure.locator("title").first.text_content()
        assert len(label) > 10
    inks = visit.page.evaluate(
        "[...document.querySelectorAll('svg text')].map((text) => getComputedStyle(text).fill)"
        ".concat(getComputedStyle(document.body).color)"
    )
    assert len({*inks}) == 1
    snapshot = visit.page.locator("main").aria_snapshot()
    assert "Learning curve: 5 steps" in snapshot
    visit.close()


def test_a_drawing_that_does_not_follow_its_window_yet_widens_no_page(written, browser):
    """A browser lays a page out before the viewer has heard that its place is narrower."""
    visit = Visit(browser, written["molecule"])
    assert visit.drawn() == 1
    assert visit.page.evaluate(
        """() => {
            const canvas = document.querySelector(".viewer canvas");
            canvas.style.width = "5000px";
            return canvas.getBoundingClientRect().width === 5000 && document.documentElement.scrollWidth <= innerWidth;
        }"""
    )
    visit.close()


def test_the_molecule_is_drawn_and_turned_by_keys(written, browser):
    visit = Visit(browser, written["molecule"])
    assert visit.drawn() == 1
    place = visit.page.locator(".viewer")
    place.focus()
    before = visit.at_rest(place)
    visit.page.keyboard.press("ArrowUp")
    assert visit.at_rest(place) != before
    assert visit.complaints == []
    visit.close()


def test_without_scripts_the_rest_of_a_page_is_there(written, browser):
    visit = Visit(browser, written["molecule"], java_script_enabled=False)
    assert visit.page.get_by_role("heading", name="System").is_visible()
    assert visit.page.get_by_role("cell", name="1.430000", exact=True).count() == 1
    assert visit.asked == [written["molecule"].as_uri()]
    visit.close()


def test_a_hostile_directory_runs_nothing(uninterrupted, tmp_path, browser):
    directory = pages.molecular(tmp_path / "run", uninterrupted)
    (directory / "train.log").write_text(f"[now] WARNING {pages.HOSTILE}\n")
    content = json.loads((directory / "result.json").read_text())
    content["reference"] |= {"source": pages.HOSTILE}
    (directory / "result.json").write_text(json.dumps(content))
    write_page([read_record(directory)], tmp_path / "page.html")
    visit = Visit(browser, tmp_path / "page.html")
    visit.page.on("dialog", lambda dialog: visit.complaints.append(dialog.message))
    visit.drawn()
    assert "<script>alert(1)</script>" in visit.page.locator("main").inner_text()
    assert visit.complaints == []
    assert visit.asked == [(tmp_path / "page.html").as_uri()]
    visit.close()
