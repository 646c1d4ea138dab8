"""From run directories to the files of a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dpcnn.errors import OptionError
from dpcnn.report import comparison, figures, pages, results, style
from dpcnn.report.results import Own
from dpcnn.report.run import Run, read
from dpcnn.system.files import refuse_links, write_atomically


def write(
    paths: Sequence[Path],
    out: Path | None,
    form: str,
    dataroot: str | None,
    best: bool = False,
    network: Own | None = None,
) -> Path:
    """Write the report of one run, or the comparison of several; return where it is.

    form: html for one page, png for a folder of pictures; dataroot: where the dataset of a single
    run is now, None: where it was; best: show its network after its best epoch; network: what makes
    the layers of a single run's network, needed if some are not dpcnn's. Raises OptionError for a
    path that is not a run directory, or if the report cannot be written.
    """
    runs = [read(path) for path in paths]
    default = "report" if len(runs) == 1 else "comparison"
    target = out or paths[0] / (f"{default}.html" if form == "html" else default)
    with style.applied():
        if form == "html":
            contents = {target: _page(runs, dataroot, best, network).encode()}
        else:
            drawn = _figures(runs, dataroot, best, network)
            contents = {target / f"{name}.png": style.png(drawn[name]) for name in drawn}
    try:
        if form == "png":
            if out is None:
                refuse_links(paths[0], default)
            target.mkdir(parents=True, exist_ok=True)
        for path, content in contents.items():
            write_atomically(path, content)
    except OSError as error:
        raise OptionError(f"--out {target}: {error.strerror}, expected a writable path") from error
    return target


def _page(runs: Sequence[Run], dataroot: str | None, best: bool, network: Own | None) -> str:
    if len(runs) > 1:
        return comparison.page(runs)
    return pages.of_run(runs[0], results.load(runs[0], dataroot, best, network))


def _figures(
    runs: Sequence[Run], dataroot: str | None, best: bool, network: Own | None
) -> figures.Figures:
    if len(runs) > 1:
        return figures.of_comparison(comparison.ranked(runs))
    trained = results.load(runs[0], dataroot, best, network)
    return figures.of_run(runs[0], trained) | figures.sheets(trained)
