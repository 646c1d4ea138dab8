"""Make the picture of a report in the README, dpcnn/report/example.png:

launch/local -n 2 --recipe cifar10 --run_dir runs/cifar10
python -m tests.report.example runs/cifar10
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from dpcnn.report import write as writing
from dpcnn.report.write import write
from tests.browser import Browser

EXAMPLE = Path(writing.__file__).with_name("example.png")
WIDTH, HEIGHT = 1000, 1130  # pixels of the window, and of each part before it is made smaller
PARTS = ("#curves", "#classes")  # what each part begins with
GAP = 24  # pixels between the parts
SHOWN = 1366  # pixels of the picture's width


def main(run: Path) -> None:
    """Join two parts of the run's page, side by side."""
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        browser.call("Emulation.setScrollbarsHidden", hidden=True)
        browser.open(write([run], Path(folder) / "page.html", "html", None), WIDTH)
        with Image.open(browser.screenshot(Path(folder) / "page.png")) as page:
            joined = Image.new("RGB", (2 * page.width + GAP, HEIGHT), "#c8ccd2")
            for place, part in enumerate(PARTS):
                box = f"document.querySelector('{part}').getBoundingClientRect()"
                top = int(browser.evaluate(f"{box}.top")) - GAP
                cut = page.crop((0, top, page.width, top + HEIGHT))
                joined.paste(cut, (place * (page.width + GAP), 0))
    size = (SHOWN, HEIGHT * SHOWN // joined.width)
    picture = joined.resize(size, Image.Resampling.LANCZOS)
    picture.quantize(256, Image.Quantize.FASTOCTREE).save(EXAMPLE, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
