"""The parts of a page about the network and its dataset: samples, classes, mistakes, filters."""

from __future__ import annotations

from dpcnn.report import charts, pictures
from dpcnn.report.figures import data_url
from dpcnn.report.html import Markup, join, tag
from dpcnn.report.parts import chart, extent, formatted
from dpcnn.report.results import Guess, Learned, Results

CLASSES = 100  # rows of the table of classes


def samples(learned: Learned) -> Markup | None:
    """Show images of each class; nothing without a dataset."""
    if learned.dataset is None:
        return None
    rows = []
    for tile in pictures.samples(learned.dataset.train):
        label = tile.caption.partition(":")[0]
        picture = tag("img", src=data_url(tile.pixels), alt=f"training images of class {label}")
        rows.append(tag("div", tag("b", label), picture))
    caption = f"The first training images of {'each class' if len(rows) < 20 else '20 classes'}."
    return tag("figure", tag("div", rows, class_="samples"), tag("figcaption", caption))


def layers(learned: Learned) -> Markup | None:
    """List the layers; nothing without a network."""
    if learned.model is None:
        return None
    numbers = [tag("th", name, class_="number") for name in ("output", "parameters")]
    head = [tag("th", "layer"), *numbers]
    rows = [
        tag("tr",
            tag("td", row.layer), tag("td", extent(row.output_shape), class_="number"),
            tag("td", f"{row.parameters:,}", class_="number"))
        for row in learned.model.network.plan.table()
    ]  # fmt: skip
    body = tag("table", tag("thead", tag("tr", head)), tag("tbody", rows))
    return tag("div", tag("h3", "Layers"), body, class_="card")


def classes(results: Results | None) -> Markup | None:
    """Show which classes are told apart, and how well; nothing without results."""
    if results is None:
        return None
    right = round(results.accuracy * results.images)
    found = f"{right:,} of {results.images:,} test images are classified right"
    shades = "Numbers of test images. Off the diagonal are mistakes: the stronger the colour, the"
    shades += " more of them (by the square root)."
    matrix = None
    if results.confusion is not None:
        matrix = chart(lambda: charts.confusion(results), "confusion", shades)
    dots = "Precision: the share of images taken for the class that are of it. Recall: the share"
    dots += " of its images that are taken for it."
    return join([
        tag("h2", "How the classes fare"),
        tag("p", found, f" ({results.accuracy:.2%}), by the network after step {results.step:,}."),
        tag("div", matrix, chart(lambda: charts.per_class(results), "per-class", dots),
            class_="grid"),
        tag("details", tag("summary", "The same in numbers"),
            tag("div", _class_table(results), class_="card")),
    ])  # fmt: skip


def _class_table(results: Results) -> Markup:
    names = ("class", "images", "precision", "recall", "F1", "most often taken for")
    head = [tag("th", name, class_="number") for name in names[:-1]] + [tag("th", names[-1])]
    most: dict[int, str] = {}
    for each in results.mistakes:
        most.setdefault(each.label, f"{each.predicted} ({each.images} times)")
    rows = []
    for label, figures in enumerate(zip(*results.per_class, strict=True)):
        if label == CLASSES:
            break
        support, *shares = map(float, figures)
        cells = [str(label), f"{support:,.0f}", *(formatted(each, "{:.4f}") for each in shares)]
        taken = tag("td", most.get(label, "-"))
        rows.append(tag("tr", [tag("td", cell, class_="number") for cell in cells], taken))
    return tag("table", tag("thead", tag("tr", head)), tag("tbody", rows))


def mistakes(results: Results | None) -> Markup | None:
    """Show the worst mistakes, with the probabilities; nothing without results."""
    if results is None:
        return None
    words = f"The {len(results.worst)} test images to whose class the network gives the least"
    words += " probability, the worst first, with the classes that it finds most probable."
    words += " Their own class is in bold."
    if not results.worst:
        words = "No test image is classified wrong."
    return join([
        tag("h2", "The worst mistakes"),
        tag("p", words),
        tag("div", map(_mistake, results.worst), class_="mistakes"),
    ])  # fmt: skip


def _mistake(guess: Guess) -> Markup:
    shown = [*zip(guess.classes, guess.probabilities, strict=True)]
    if guess.label not in guess.classes:
        shown[-1] = (guess.label, guess.right)
    bars = [
        tag("div",
            tag("span", str(label)),
            tag("i", style=f"width: {share:.1%}"),
            tag("span", f"{share:.1%}" if share >= 0.001 else "<0.1%"),
            class_="guess right" if label == guess.label else "guess")
        for label, share in shown
    ]  # fmt: skip
    alt = f"a {guess.label} that was taken for a {guess.classes[0]}"
    picture = tag("img", src=data_url(pictures.pixels(guess.image)), alt=alt)
    title = tag("p", tag("b", str(guess.label)), f" taken for {guess.classes[0]}")
    return tag("div", picture, title, bars, class_="card")


def filters(learned: Learned) -> Markup | None:
    """Show the filters of the first layer; nothing where it has none."""
    if learned.filters is None:
        return None
    tiles = pictures.filters(learned.filters)
    shape = extent(learned.filters.shape[2:])
    cells = [
        tag("div", tag("img", src=data_url(each.pixels), alt=f"filter {each.caption}"),
            each.caption)
        for each in tiles
    ]  # fmt: skip
    words = f"What the {len(learned.filters)} filters of {shape} of the first layer have learned:"
    words += " orange where a bright pixel adds to the answer, blue where it takes from it."
    if len(tiles) < len(learned.filters):
        words += f" The first {len(tiles)} are shown."
    if learned.filters.shape[1] > 1:
        words += f" Each is the mean over its {learned.filters.shape[1]} channels."
    return join([
        tag("h2", "Filters"),
        tag("p", words),
        tag("div", cells, class_="filters card"),
    ])  # fmt: skip
