"""The monitor, the form and the report's page in every state: axe-core, magnified, with the keyboard, read aloud.

One notebook shows one state after the other, from simulated trials; the tests share it. Positions of the parts are
compared, and no pixels: the width of texts, and with it every line break, differs with the fonts of a machine, and
Chromium draws the same text differently with another version of FreeType.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .lab import PATIENCE_S, Lab, Notebook
from .states import FORMS, STATES, write_report

# tests/widgets/test_states.py has the texts of the same states.
pytestmark = [pytest.mark.browser, pytest.mark.slow]
LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"
#: Screens in CSS pixels; the last is the first one magnified to 200 %, in which a browser halves the pixels.
WIDE, NARROW, MAGNIFIED = (1400, 900), (900, 900), (700, 450)
CELL = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
import ipywidgets
from tests.browser import states
box = ipywidgets.VBox()
box
"""


class Shown:
    """A notebook that shows one state at a time."""

    def __init__(self, notebook: Notebook, axe_script: str) -> None:
        self.notebook, self.page = notebook, notebook.page
        self._axe_script = axe_script

    def state(self, name: str) -> None:
        self._mark_old(name)
        self.notebook.execute(f"view = states.show(box, {name!r})")
        # The number of configurations is there once the table has its rows.
        self._until(name, "/configuration/.test(shown.querySelector('.at-table [role=status]')?.textContent)", "table")
        self._until(
            name,
            "[...shown.querySelectorAll('.at-chart')].some(one => one.querySelector('.main-svg') "
            "|| one.querySelector('.at-chart-announced').textContent)",
            "chart or what is announced in its place",
        )

    def form(self, name: str) -> None:
        self._mark_old(name)
        self.notebook.execute(f"form = states.show_form(box, {name!r})")
        self._until(name, "shown.querySelector('.at-form-start')", "form")

    def _mark_old(self, name: str) -> None:
        """Mark what shows this state already, which the page replaces some time after the cell has ended."""
        self.page.evaluate(f"document.querySelectorAll('.at-state-{name}').forEach(one => one.dataset.old = '')")

    def _until(self, name: str, condition: str, what: str) -> None:
        script = f"""() => {{
            const shown = document.querySelector('.at-state-{name}');
            return shown && !document.querySelector('.at-state-{name}[data-old]') && {condition};
        }}"""
        self.notebook.until(lambda: self.page.evaluate(script), f"the {what}")

    def size(self, size: tuple[int, int]) -> None:
        self.page.set_viewport_size({"width": size[0], "height": size[1]})

    def serious(self, root: str) -> list[str]:
        """Return what axe-core finds in an element that is serious or critical."""
        return serious(self.page, self._axe_script, root)


def serious(page: Any, axe_script: str, root: str) -> list[str]:
    if not page.evaluate("() => !!globalThis.axe"):
        page.evaluate(axe_script)
    found = page.evaluate("root => axe.run(root, {resultTypes: ['violations']})", root)
    # It found something to check: without the element, it would find no violation.
    assert len(found["passes"]) > 10
    return [
        f"{one['id']} ({one['impact']}): {one['nodes'][0]['html'][:200]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


@pytest.fixture(scope="module")
def axe_script() -> str:
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe is not installed (extra: test)")
    return str(axe.AXE_SCRIPT)


@pytest.fixture(scope="module")
def shown(lab: Lab, context: Any, axe_script: str) -> Iterator[Shown]:
    notebook = Notebook(lab, context)
    notebook.open([CELL], width=WIDE[0], height=WIDE[1])
    notebook.run(0)
    try:
        yield Shown(notebook, axe_script)
        assert notebook.errors == []
    finally:
        notebook.close()
        lab.reset_settings()


#: What is cut off or overlaps: texts without an ellipsis or a bar to scroll, and parts and buttons that share pixels.
FAULTS = """root => {
    const found = [], name = n => `${n.tagName}.${n.className} ${(n.textContent ?? '').trim().slice(0, 40)}`;
    const seen = n => n.getClientRects().length && getComputedStyle(n).visibility === 'visible';
    const top = document.querySelector(root), width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth > width) found.push('the page scrolls sideways');
    if (top.scrollWidth > top.clientWidth + 1) found.push(`${root} is wider than its cell`);
    for (const n of top.querySelectorAll('*')) {
        if (!seen(n) || n.closest('svg, .at-table-scroll, .at-read, .modebar-container')) continue;
        const style = getComputedStyle(n), own = [...n.childNodes].some(c => c.nodeType === 3 && c.data.trim());
        if (!own || !n.clientWidth) continue;
        const cut = n.scrollWidth > n.clientWidth + 1 && !['visible', 'auto', 'scroll'].includes(style.overflowX);
        const tip = n.closest('[title]')?.title;
        if (cut && !(style.textOverflow === 'ellipsis' && tip)) found.push(`cut off: ${name(n)}`);
    }
    const overlaps = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
    const all = [...top.querySelectorAll('button, input, select, textarea, [role=tab], h3')].filter(n =>
        seen(n) && !n.closest('.at-table-scroll, .modebar-container, .at-form-bar'));
    const parts = [...top.children].filter(n => seen(n) && n.offsetHeight && !n.matches('.at-read'));
    for (const several of [all, parts]) several.forEach((one, i) => several.slice(i + 1).forEach(other => {
        if (!one.contains(other) && overlaps(one.getBoundingClientRect(), other.getBoundingClientRect()))
            found.push(`overlap: ${name(one)} and ${name(other)}`);
    }));
    return found;
}"""


@pytest.mark.parametrize("name", STATES)
def test_of_each_state_axe_finds_nothing_serious_and_nothing_is_cut_off(shown: Shown, name: str) -> None:
    shown.size(WIDE)
    shown.state(name)
    # Everything is on one screen, above JupyterLab's status bar.
    monitor = shown.page.locator(".at-monitor")
    monitor.evaluate("node => node.scrollIntoView()")
    box = monitor.bounding_box()
    assert box is not None and box["y"] + box["height"] <= 900 - 24
    for theme in (LIGHT, DARK):
        shown.notebook.theme(theme)
        for size in (WIDE, NARROW, MAGNIFIED):
            shown.size(size)
            assert shown.page.evaluate(FAULTS, ".at-monitor") == [], (theme, size)
        # Colours do not depend on the size.
        assert shown.serious(".at-monitor") == [], theme


def test_magnified_to_200_percent_every_button_can_be_reached(shown: Shown) -> None:
    shown.size(MAGNIFIED)
    shown.state("running")
    shown.notebook.execute("view.selection.trials = (12, 3)")
    shown.page.get_by_text("2 trials side by side").wait_for()
    shown.notebook.execute("view.selection.trials = (12,)")
    shown.page.get_by_role("button", name="Run again").wait_for()
    assert shown.page.evaluate(FAULTS, ".at-monitor") == []
    names = ("Pause", "Stop", "Copy command", "columns", "Run again", "Try a neighbour", "Budget and edits")
    for button in names:
        found = shown.page.locator(".at-monitor").get_by_role("button", name=button).first
        found.scroll_into_view_if_needed()
        box = found.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= MAGNIFIED[0], button
        # Nothing is on top of it.
        assert found.evaluate(
            """node => { const r = node.getBoundingClientRect();
                return node.contains(document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2)); }"""
        ), button


def focused(shown: Shown) -> str:
    """Return the role and the name of the element with the focus, which has to be visible."""
    about: list[str] = shown.page.evaluate(
        """() => { const n = document.activeElement, style = getComputedStyle(n);
            const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
            return [n.getAttribute('role') ?? n.tagName.toLowerCase(),
                n.getAttribute('aria-label') ?? (n.textContent.trim() || n.placeholder), String(ring)]; }"""
    )
    role, name, ring = about
    assert ring == "true", f"the focus on {role} {name} is not visible"
    return f"{role} {name}"


def test_everything_can_be_done_with_the_keyboard_alone(shown: Shown) -> None:
    shown.notebook.theme(LIGHT)
    shown.size(WIDE)
    shown.state("running")
    page, keys = shown.page, shown.page.keyboard
    page.locator(".at-monitor-pause").focus()
    order = [focused(shown)]
    while not order[-1].startswith("tr"):
        keys.press("Tab")
        order.append(focused(shown))
        assert len(order) < 60
    # The header's buttons, the tab, the chart's tools, the table's filter and columns, its heads, its first row.
    wanted = ["Pause", "Stop", "Copy command", "tab Latency and throughput", "Zoom", "filter of the table", "columns"]
    wanted += ["button trial", "button state", "steer max_num_seqs", "steer scheduling_policy", "tr "]
    places = [next(i for i, one in enumerate(order) if text in one) for text in wanted]
    assert places == sorted(places)

    # A row opens its trial's page, and Escape closes it.
    keys.press("ArrowDown")
    keys.press("Enter")
    page.get_by_role("heading", name="Trial 12").wait_for()
    assert focused(shown).startswith("tr")
    keys.press("Escape")
    page.get_by_role("heading", name="Trial 12").wait_for(state="detached")
    # Two rows side by side.
    keys.press("Space")
    keys.press("ArrowDown")
    keys.press("Space")
    page.get_by_text("2 trials side by side").wait_for()

    # The tabs: arrows move, Enter selects.
    page.get_by_role("tab", name="Latency and throughput").focus()
    keys.press("ArrowRight")
    assert focused(shown) == "tab Progress"
    keys.press("Enter")
    page.locator(".at-monitor").get_by_role("tab", name="Progress", selected=True).wait_for()

    # A head's menu, the menu of columns, and what is folded.
    for opener, dialog in (("steer block_size", "steer block_size"), ("columns", "columns")):
        page.locator(".at-table").get_by_role("button", name=opener).focus()
        keys.press("Enter")
        page.get_by_role("dialog", name=dialog).wait_for()
        focused(shown)
        keys.press("Escape")
        page.get_by_role("dialog", name=dialog).wait_for(state="detached")
        assert opener in focused(shown)
    page.locator(".at-monitor-budget").get_by_role("button", name="Budget and edits").focus()
    keys.press("Enter")
    page.locator(".at-budget-trials input").wait_for()
    for _ in range(2):
        keys.press("Tab")
    assert focused(shown).startswith("input")
    # A configuration to try: the editor follows its button.
    page.get_by_role("button", name="Try a configuration").focus()
    keys.press("Enter")
    page.locator(".at-try-fields input").first.wait_for()
    assert "will try: " in page.locator(".at-try-preview").inner_text()


#: Whether the texts of the chart are light.
IN_THEME = """dark => {
    const text = document.querySelector('.at-chart:not(.lm-mod-hidden) .main-svg text');
    return text && getComputedStyle(text).fill.match(/\\d+/g).slice(0, 3).every(value => value > 128) === dark;
}"""
TABS = ("Latency and throughput", "Progress", "Parameters", "Slices", "Timeline")


@pytest.mark.parametrize("name", STATES)
def test_a_screen_reader_has_a_name_for_every_part(shown: Shown, name: str) -> None:
    shown.size(WIDE)
    shown.state(name)
    monitor = shown.page.locator(".at-monitor")
    tree = monitor.aria_snapshot()
    header = re.search(r'group "progress and best configuration":\n\s+- heading "qwen3-8b on H100 (\w+)"', tree)
    assert header is not None, tree
    assert re.search(r'progressbar "\d+ (of \d+ )?trials', tree)
    assert 'grid "configurations"' in tree and 'searchbox "filter of the table"' in tree
    assert re.search(r'columnheader "(max_num_seqs|failure)', tree) and 'columnheader "state"' in tree
    assert 'button "Budget and edits"' in re.sub("[\ue000-\uf8ff] *", "", tree)
    assert not re.search(r"- (button|tab|textbox|searchbox|group|grid|combobox)( \[\w+\])?(:|$)", tree, re.M), tree
    if name not in ("all_failed",) or "what runs now" in tree:
        assert name == "broken" or 'group "what runs now"' in tree
    # A chart says in a sentence what it shows, or what comes in its place.
    chart = re.search(r'group "(Further right and lower is better[^"]*)"', tree)
    announced = monitor.locator(".at-chart-announced").first.inner_text()
    assert bool(chart) is not bool(announced)
    if chart and name not in ("infeasible",):
        assert re.search(r"trial \d+: up to [\d,.]+ tokens/s at [\d.]+ m?s", chart[1])
    assert shown.page.locator(".at-monitor [aria-live=polite]").inner_text().startswith("qwen3-8b on H100: ")


def test_every_chart_has_a_sentence_and_is_drawn_again_after_the_theme_is_changed(shown: Shown) -> None:
    shown.size(WIDE)
    shown.state("finished")
    chart = shown.page.locator(".at-chart:not(.lm-mod-hidden)")
    for title in TABS:
        shown.page.locator(".at-monitor").get_by_role("tab", name=title).click()
        chart.locator(".main-svg").first.wait_for()
        label = chart.get_by_role("group").first.get_attribute("aria-label") or ""
        assert len(label.split()) > 4, title
        assert shown.serious(".at-monitor") == [], title
    for theme in (DARK, LIGHT, DARK):
        shown.notebook.theme(theme)
        # The splash of a theme that is loaded hides the page for less than a frame.
        shown.page.locator(".at-chart-plot .main-svg").first.wait_for()
        shown.page.wait_for_function(IN_THEME, arg=theme == DARK)
    buttons = shown.page.locator(".modebar-btn").evaluate_all("all => all.map(one => one.ariaLabel)")
    # None of them uploads the chart.
    assert "Zoom" in buttons and not [one for one in buttons if "hare" in one]


def test_a_change_of_the_state_is_read_out_and_figures_are_not(shown: Shown) -> None:
    shown.state("running")
    region = shown.page.locator(".at-monitor [aria-live=polite]")
    first = region.element_handle()
    shown.page.evaluate(
        """node => { window.heard = []; new MutationObserver(all => window.heard.push(...all.map(() => node.innerText)))
            .observe(node, {subtree: true, childList: true, characterData: true}); }""",
        first,
    )
    # Another trial ends: figures change, and nothing is read out.
    shown.notebook.execute("view.handle.history = view.handle.history[:12]; view.handle.version += 1; view._wake.set()")
    shown.page.get_by_text("12 of 30 trials").wait_for()
    assert shown.page.evaluate("window.heard") == []
    shown.notebook.execute(
        "from autotune_nb.runner.runner import RunState; view.handle.running = (); "
        "view.handle.state = RunState.PAUSED; view.handle.version += 1; view._wake.set()"
    )
    shown.notebook.until(lambda: "paused: no trial runs" in "".join(shown.page.evaluate("window.heard")), "the pause")


@pytest.mark.parametrize("name", FORMS)
def test_of_each_form_axe_finds_nothing_serious_and_nothing_is_cut_off(shown: Shown, name: str) -> None:
    shown.size(WIDE)
    shown.form(name)
    for theme in (LIGHT, DARK):
        shown.notebook.theme(theme)
        for size in (WIDE, NARROW, MAGNIFIED):
            shown.size(size)
            assert shown.page.evaluate(FAULTS, ".at-form") == [], (theme, size)
        assert shown.serious(".at-form") == [], theme
    tree = shown.page.locator(".at-form").aria_snapshot()
    assert not re.search(r"- (button|textbox|combobox|checkbox|spinbutton)( \[\w+\])*(:|$)", tree, re.M), tree
    # The start stays in view, and the parameters can be told apart.
    shown.size(WIDE)
    assert shown.page.locator(".at-form-start").bounding_box()["y"] < 900  # type: ignore[index]


def test_in_the_form_names_of_40_characters_can_be_told_apart(shown: Shown) -> None:
    shown.size(WIDE)
    shown.form("wide")
    fields = shown.page.locator(".at-form-long-name .at-form-mono input").all()
    names = [one for one in fields if one.input_value().startswith("kv_cache_eviction")]
    assert len(names) == 4
    assert all(one.evaluate("node => node.scrollWidth <= node.clientWidth + 1") for one in names)


@pytest.mark.parametrize("name", ("all_failed", "one", "infeasible", "finished", "thousand", "long_names"))
def test_of_each_report_axe_finds_nothing_serious(context: Any, axe_script: str, tmp_path: Path, name: str) -> None:
    file = write_report(name, tmp_path)
    for scheme in ("light", "dark"):
        page = context.browser.new_page(viewport={"width": 900, "height": 900}, color_scheme=scheme)
        try:
            page.goto(file.as_uri(), timeout=PATIENCE_S * 1000)
            page.locator(".at-configurations.at-lively").wait_for(timeout=PATIENCE_S * 1000)
            for width in (900, 700):
                page.set_viewport_size({"width": width, "height": 900})
                # Plotly draws its charts again a moment after the page's width changed.
                page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width)
            assert serious(page, axe_script, "body") == []
            wide = page.evaluate("() => [...document.querySelectorAll('.at-live th')].map(one => one.offsetWidth)")
            # No column is as wide as a failure's text.
            assert max(wide) < 260
        finally:
            page.close()
