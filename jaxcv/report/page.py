"""The report of a run: one HTML file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jaxcv.atomic import write_text
from jaxcv.report import sections
from jaxcv.report.markup import Markup, join, tag
from jaxcv.train.task import Headline

# The browser itself is told to fetch nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def write_report(
    path: str | Path,
    *,
    title: str,
    subtitle: str = "",
    banners: Sequence[str] = (),
    history: Sequence[Mapping[str, Any]] = (),
    summary: Mapping[str, Any] | None = None,
    class_names: Sequence[str] = (),
    headlines: Sequence[Headline] = (),
    samples: Markup | None = None,
    task_sections: Mapping[str, Markup | None] | None = None,
    config: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
) -> Path:
    """Write the report of a run; a part that is not given is left out.

    Args:
        path: The file to write, `report.html` say; it is replaced at once, never half written.
        title: Headline of the page.
        subtitle: A line beneath it: data set, steps, time.
        banners: What must be known before any number of the page is believed, a sentence each.
        history: Rows of metrics.jsonl: dicts with `step`, `split` and numbers.
        summary: What a metrics module's `summary` returned for the test examples.
        class_names: Names of the classes, in order; numbers stand for those that are missing.
        headlines: Which numbers of history and summary matter, and how they are shown.
        samples: Augmented training images, see `Presentation.samples`.
        task_sections: `{heading: content}` of what only this task has to show, see
            `Presentation.sections`; it follows the evaluation.
        config: The experiment as nested JSON values; the key `class` of a dict is its headline.
        environment: Versions and hardware, see `jaxcv.train.collect_environment`.

    Returns:
        The path written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "report.html"
        >>> write_report(path, title="A run", summary={"accuracy": 0.5, "count": 8}).name
        'report.html'
    """
    summary = summary or {}
    parts = {
        "Training": sections.curves(history, headlines),
        "Evaluation": sections.evaluation(summary, class_names, headlines),
        **(task_sections or {}),
        "Augmented training images": samples,
        "Configuration": sections.settings(config or {}),
        "Versions and hardware": sections.environment_cards(environment or {}),
    }
    shown = {name: part for name, part in parts.items() if part is not None}
    anchors = {name: name.lower().replace(" ", "-") for name in shown}
    body = join(
        tag("h1", title),
        tag("p", subtitle, class_="subtitle") if subtitle else None,
        *[tag("p", text[:1].upper() + text[1:], class_="banner", role="alert") for text in banners],
        tag("nav", *[tag("a", name, href=f"#{anchor}") for name, anchor in anchors.items()]),
        sections.headline_tiles(summary, headlines),
        *[tag("section", tag("h2", name), part, id=anchors[name]) for name, part in shown.items()],
    )
    path = Path(path)
    write_text(path, _document(title, body))
    return path


def _document(title: str, body: Markup) -> str:
    """A whole HTML document with its style and script inside."""
    files = resources.files("jaxcv.report")
    style = Markup(files.joinpath("page.css").read_text(encoding="utf-8"))
    script = Markup(files.joinpath("page.js").read_text(encoding="utf-8"))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", style),
    )
    main = tag("main", body)
    document = tag("html", head, tag("body", main, tag("script", script)), lang="en")
    return f"<!doctype html>\n{document}\n"
