"""The page of one run: its parts in their order, as one HTML file that needs nothing else."""

from __future__ import annotations

from datetime import datetime

from dpcnn.report import charts, timecharts
from dpcnn.report.facts import Run
from dpcnn.report.html import Content, Markup, join, tag
from dpcnn.report.network import classes, filters, layers, mistakes, samples
from dpcnn.report.parts import (
    badge,
    chart,
    document,
    extent,
    flat,
    foot,
    key_figures,
    missing,
    option_word,
    table,
)
from dpcnn.report.results import Learned
from dpcnn.system.text import one_line


def page(run: Run, learned: Learned) -> str:
    """Return the report of one run."""
    parts = {
        "Setup": _setup(run, learned),
        "Curves": _curves(run),
        "Classes": classes(learned.results),
        "Mistakes": mistakes(learned.results),
        "Filters": filters(learned),
        "Time": _time(run),
    }
    shown = {name: body for name, body in parts.items() if body}
    links = [tag("a", name, href=f"#{name.lower()}") for name in shown]
    sections = [tag("section", body, id=name.lower()) for name, body in shown.items()]
    return document(f"{run.name} - dpcnn", _head(run), tag("nav", links), sections, foot())


def _head(run: Run) -> Markup:
    tiles = [tag("div", tag("b", value), tag("span", name)) for name, value in key_figures(run)]
    sha = run.weights_sha256
    begun = run.sessions[0].begun if run.sessions else None
    when = f", begun {begun:%d %B %Y %H:%M} UTC" if begun else ""
    return join([
        tag("header",
            tag("div", tag("h1", run.name), badge(run), class_="title"),
            tag("p", str(run.path), when, class_="muted")),
        tag("div", tiles, class_="figures"),
        tag("p", "Weights SHA-256: ", tag("code", one_line(sha))) if sha else None,
        missing(run.missing),
        [tag("details", tag("summary", f"What a rank left in {name}"), tag("pre", text))
         for name, text in run.errors.items()],
    ])  # fmt: skip


def _setup(run: Run, learned: Learned) -> Markup:
    """Say what was trained on what: changed options first, all of them folded."""
    changed = [(f"--{name}", option_word(name, run.options[name])) for name in run.changed()]
    every = [(f"--{name}", option_word(name, value)) for name, value in run.options.items()]
    environment = [*flat(run.environment).items()]
    return join([
        tag("h2", "What was trained on what"),
        tag("div",
            tag("div",
                tag("div", table(_what(run, learned)), class_="card"),
                tag("div", tag("h3", "Options that differ from the defaults"),
                    table(changed) if changed else tag("p", "None."), class_="card"),
                class_="column"),
            tag("div", samples(learned), layers(learned), class_="column"),
            class_="grid"),
        _folded("All options", every),
        _folded("Environment", environment),
    ])  # fmt: skip


def _what(run: Run, learned: Learned) -> list[tuple[Content, Content]]:
    """Return the facts of a training in short."""
    environment, data = run.environment, learned.dataset
    recorded = run.checkpoint.dataset if run.checkpoint else {}
    option = {name: option_word(name, value) for name, value in run.options.items()}
    rows: list[tuple[Content, Content]] = []
    source = recorded.get("source") or option.get("dataroot", "unknown")
    rows.append(("dataset", one_line(source)))
    if data:
        shape = extent(data.train.shape)
        sizes = f"{len(data.train):,} to train on, {len(data.test):,} to test on, {shape}"
        rows.append(("images", sizes))
    if learned.model:
        network = learned.model.network
        rows.append(("network", " → ".join(map(repr, network.layers))))
        rows.append(("parameters", f"{network.parameters.size:,}"))
    rows.append(("optimizer", f"SGD, learning rate {option.get('lr', '?')}"))
    whole, part = option.get("minibatch_size", "?"), option.get("microbatch_size", "?")
    rows.append(("minibatch", f"{whole} images, in micro-batches of {part}"))
    rows.append(("reduction", option.get("reduce", "?")))
    hosts = environment.get("hosts")
    if isinstance(hosts, list):
        names = [one_line(host) for host in hosts]
        ranks = ", ".join(f"{names.count(host)} on {host}" for host in dict.fromkeys(names))
        rows.append(("ranks", f"{len(names)} ({ranks})"))
    for key in ("mpi", "cpu"):
        if key in environment:
            rows.append((key.upper(), one_line(environment[key])))
    return rows


def _folded(title: str, rows: list[tuple[str, str]]) -> Markup:
    return tag("details", tag("summary", title), tag("div", table(rows), class_="card"))


def _curves(run: Run) -> Markup | None:
    if not run.metrics:
        return None
    training = "Training figures are of the epoch as it was trained, test figures of its end."
    return join([
        tag("h2", "Curves"),
        tag("div",
            chart(lambda: charts.accuracy(run), "accuracy", training),
            chart(lambda: charts.loss(run), "loss", "Mean cross entropy of an image."),
            chart(lambda: charts.accuracy_over_time(run), "accuracy-time",
                  "The same over the time of training and evaluation, without interruptions."),
            chart(lambda: charts.loss_over_time(run), "loss-time", "The same over that time."),
            chart(lambda: charts.learning_rate(run), "learning-rate", "What a step is scaled by."),
            chart(lambda: charts.speed(run), "speed", "All ranks together, without evaluation."),
            class_="grid"),
    ])  # fmt: skip


def _time(run: Run) -> Markup | None:
    ranks = timecharts.ranks(run)
    if not ranks and not run.sessions:
        return None
    spent = "Waiting is for the last rank to come to a step, and for rank 0 while it evaluates."
    spent += " Saving is what training waits for. The state after an epoch is saved in the next"
    spent += " one. An epoch that was resumed counts from there."
    if len(ranks) > timecharts.RANKS:
        spent += f" The first {timecharts.RANKS} of {len(ranks)} ranks are drawn."
    history = None
    if run.sessions:
        caption = "A bar a start, from its first to its last sign of life, an upright line where"
        caption += " an epoch ended. The time between an end and the next start is left out."
        history = tag("div", chart(lambda: timecharts.timeline(run), "timeline", caption),
                      _events(run))  # fmt: skip
    return join([
        tag("h2", "Where the time went"),
        tag("div",
            chart(lambda: timecharts.spending(run), "spending", spent) if ranks else None,
            history,
            class_="grid"),
    ])  # fmt: skip


def _events(run: Run) -> Markup:
    items = [
        tag("li", _when(event.time), event.words())
        for session in timecharts.moments(run)
        for event in session
    ]
    return tag("ol", items, class_="events")


def _when(time: datetime | None) -> Content:
    return [tag("time", f"{time:%d %b %H:%M:%S}"), " "] if time else None
