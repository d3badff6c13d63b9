"""Makes the pictures of the README from a real run in a headless JupyterLab: ``make pictures``, about ten minutes.

The form, the monitor at the end of the run and an animation of it, and the report's page, into ``notebooks/``.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import yaml
from click.testing import CliRunner
from PIL import Image
from playwright.sync_api import sync_playwright

from autotune_nb.cli.main import cli
from autotune_nb.resources import shared_folder
from tests.browser.lab import Lab, Notebook, launch_chromium

WIDTH, HEIGHT = 1400, 1000
#: The width of the animation, the time between its frames, and how long each is shown.
GIF_WIDTH, EVERY_S, SHOWN_MS, MOST_FRAMES = 900, 6.0, 700, 24
MAX_PNG, MAX_GIF = 300_000, 1_500_000
RUN_S = 1500.0

FORM = 'import autotune_nb as at\n\nform = at.TaskForm("task.yaml")\nform'
MONITOR = 'run = at.tune("task.yaml", study="runs/quickstart")\nat.Monitor(run)'


def task(folder: Path) -> Path:
    """Write the quickstart task with a smaller model, fewer parameters and shorter levels, so that more trials fit."""
    data: dict[str, Any] = yaml.safe_load((shared_folder("notebooks") / "tasks" / "quickstart.yaml").read_text())
    data["model"]["random_weights"] = {"layers": 4, "hidden_size": 256, "feed_forward_size": 768}
    # Types of the cache change the answers, which would be compared in each trial.
    data["parameters"] = {
        name: values for name, values in data["parameters"].items() if not name.startswith(("threads", "cache_type"))
    }
    data["engine"]["args"] |= {"threads": 1, "threads_batch": 1}
    data["rules"] = data["rules"][:1]
    data["workload"] |= {"seconds_per_level": 5, "requests_per_level": 60, "concurrency": [1, 4]}
    data |= {"budget": {"trials": 12}, "confirm": {"rounds": 2, "budget": 5}}
    data["strategy"] = {"sampler": "auto", "seed": 3}
    file = folder / "task.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return file


def save(picture: Image.Image, file: Path) -> None:
    """Write a picture in a palette, which makes it a third as large. Raises SystemExit if it is too large."""
    picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)
    require_small(file, MAX_PNG)


def require_small(file: Path, most: int) -> None:
    size = file.stat().st_size
    click.echo(f"{file}: {size:,} bytes")
    if size > most:
        sys.exit(f"{file} has {size:,} bytes; at most {most:,} are wanted: make it lower or with fewer frames")


#: Replaces the paths of this machine in the texts of a page by those that a reader would have.
_NEUTRAL = """paths => {
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const before = walk.currentNode.textContent;
    const after = paths.reduce((text, [own, other]) => text.replaceAll(own, other), before);
    if (after !== before) walk.currentNode.textContent = after;
  }
}"""


def neutral(page: Any, root: Path) -> None:
    page.evaluate(_NEUTRAL, [[f"{root}/", ""], [str(root), "notebooks"], [sys.executable, "python"]])


def frame(notebook: Notebook) -> Image.Image:
    neutral(notebook.page, notebook.lab.root)
    return Image.open(io.BytesIO(notebook.page.screenshot())).convert("RGB")


def output(notebook: Notebook, index: int) -> Image.Image:
    """Return the picture of a cell's output."""
    # Higher than a screen: a part that is scrolled out of view is not in the picture.
    notebook.page.set_viewport_size({"width": WIDTH, "height": 2 * HEIGHT})
    notebook.page.wait_for_timeout(2000)
    neutral(notebook.page, notebook.lab.root)
    return Image.open(io.BytesIO(notebook.output(index).screenshot()))


def animation(frames: list[Image.Image], file: Path) -> None:
    """Write frames that differ as a GIF, with the colours of the last one."""
    step = -(-len(frames) // MOST_FRAMES)
    chosen = [*frames[:-1:step], frames[-1]]
    small = [one.resize((GIF_WIDTH, GIF_WIDTH * one.height // one.width), Image.Resampling.LANCZOS) for one in chosen]
    # The octree keeps rare colours, such as that of the best trial.
    palette = small[-1].quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    images = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in small]
    times = [*[SHOWN_MS] * (len(images) - 1), 5 * SHOWN_MS]
    images[0].save(file, save_all=True, append_images=images[1:], duration=times, loop=0, optimize=True)
    require_small(file, MAX_GIF)


def main() -> None:
    target = Path("notebooks")
    with (
        tempfile.TemporaryDirectory(prefix="autotune_nb-pictures-") as work,
        sync_playwright() as playwright,
        launch_chromium(playwright) as browser,
    ):
        lab = Lab(Path(work))
        try:
            task(lab.root)
            context = browser.new_context()
            notebook = Notebook(lab, context)
            notebook.open([FORM], width=WIDTH, height=HEIGHT)
            notebook.run(0)
            notebook.until(lambda: notebook.output(0).locator(".at-form").count(), "the form")
            save(output(notebook, 0), target / "form.png")
            notebook.close()
            notebook = Notebook(lab, context)
            notebook.open([f"import autotune_nb as at\n\n{MONITOR}"], width=WIDTH, height=HEIGHT)
            notebook.run(0)
            frames, until = [], time.monotonic() + RUN_S
            while not notebook.value("run.ended") and time.monotonic() < until:
                frames.append(frame(notebook))
                notebook.page.wait_for_timeout(EVERY_S * 1000)
            notebook.page.wait_for_timeout(3000)
            frames.append(frame(notebook))
            save(output(notebook, 0), target / "monitor.png")
            animation(frames, target / "monitor.gif")
            notebook.close()
            report(lab, Path(work), browser, target)
        finally:
            lab.close()


def report(lab: Lab, work: Path, browser: Any, target: Path) -> None:
    """Take the picture of the first part of the report's page."""
    made = CliRunner().invoke(
        cli, ["report", str(lab.root / "runs" / "quickstart"), "-o", str(work / "report.ipynb"), "--html"]
    )
    if made.exit_code:
        sys.exit(made.output)
    page = browser.new_page(viewport={"width": 1000, "height": 1700})
    page.goto((work / "report.html").as_uri())
    page.locator(".at-configurations.at-lively").wait_for()
    neutral(page, lab.root)
    page.screenshot(path=work / "report.png")
    save(Image.open(work / "report.png"), target / "report.png")


if __name__ == "__main__":
    main()
