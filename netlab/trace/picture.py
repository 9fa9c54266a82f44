"""A Trace as a sequence picture: a column for each place, a row for each sight, SVG and a page around it. PURE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from netlab.trace.model import Hop, Report, Step, Trace
from netlab.trace.tell import packet

COLUMN, ROW, TOP, LEFT = 210, 46, 70, 40
_STYLE = """
 text{font:12px system-ui,sans-serif;fill:#1c2733} .place{font-weight:600;text-anchor:middle}
 .small{font-size:10.5px;fill:#5b6875} .rule{fill:#7a3e9d;font-size:10.5px} .line{stroke:#c3ccd5}
 .arrow{stroke:#2166ac;stroke-width:1.6;fill:none} .reply{stroke:#1a7f37} .dns{stroke:#9a6700}
 .bad{fill:#c0271b;font-weight:600} .good{fill:#1a7f37;font-weight:600} .change{fill:#b35900;font-size:10.5px}
"""


def svg(found: Report) -> str:
    """The whole report as one SVG document."""
    traces = _traces(found)
    places = list(dict.fromkeys(hop.place for _, trace in traces for hop in trace.hops))
    places = places or [found.observed.flow.source if found.observed else "?"]
    x = {place: LEFT + COLUMN // 2 + COLUMN * number for number, place in enumerate(places)}
    body: list[str] = []
    y = TOP
    for kind, trace in traces:
        y = _draw(trace, kind, x, y, body)
    width, height = LEFT * 2 + COLUMN * len(places) + 160, y + 30
    heads = "".join(_head(place, x[place], height) for place in places)
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    paper = '<rect width="100%" height="100%" fill="#fff"/>'
    body = [f"<style>{_STYLE}</style>", paper, _MARKER, heads, *body]
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(body)}</svg>\n'


_MARKER = (
    '<defs><marker id="a" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L10 5L0 10z" fill="#2166ac"/></marker></defs>'
)


def _head(place: str, x: int, height: int) -> str:
    line = f'<line class="line" x1="{x}" x2="{x}" y1="40" y2="{height - 20}"/>'
    return f'<text class="place" x="{x}" y="30">{escape(place)}</text>{line}'


def html(found: Report, title: str) -> str:
    """A page that holds the picture; it needs nothing from elsewhere."""
    difference = str(found.difference) if found.difference else "prediction and observation are the same"
    if found.observed is None:
        difference = "computed only"
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>"
    body = f'<body style="font:14px system-ui;margin:2em"><h1>{escape(title)}</h1><p>{escape(difference)}</p>'
    return f"{head}{body}{svg(found)}</body></html>\n"


def _traces(found: Report) -> list[tuple[str, Trace]]:
    first = found.observed or (found.predicted[0] if found.predicted else None)
    if first is None:
        return []
    parts = (("dns", first.dns), ("request", first), ("reply", first.reply))
    return [(kind, trace) for kind, trace in parts if trace is not None]


def _draw(trace: Trace, kind: str, x: Mapping[str, int], y: int, body: list[str]) -> int:
    previous: Hop | None = None
    for hop in trace.hops:
        notes = list(_notes(hop))
        here = x[hop.place]
        if previous is not None and previous.place != hop.place:
            there = x[previous.place]
            end = here - 6 if here > there else here + 6
            body.append(f'<line class="arrow {kind}" x1="{there}" y1="{y}" x2="{end}" y2="{y}" marker-end="url(#a)"/>')
        body.append(f'<circle cx="{here}" cy="{y}" r="3.5" fill="#2166ac"/>')
        body.append(f'<text class="small" x="{here + 8}" y="{y - 6}">{escape(hop.interface)} {hop.direction}</text>')
        body.append(f'<text x="{here + 8}" y="{y + 8}">{escape(packet(hop.packet))}</text>')
        y += 14
        for style, text, title in notes:
            y += 13
            body.append(
                f'<text class="{style}" x="{here + 8}" y="{y - 4}">{escape(text)}<title>{escape(title)}</title></text>'
            )
        y += ROW - 14
        previous = hop
    verdict = trace.verdict
    style = "good" if verdict.kind == "delivered" else "bad"
    where = x.get(verdict.place, LEFT)
    body.append(f'<text class="{style}" x="{where + 8}" y="{y}">{escape(f"{verdict.kind}: {verdict.text}")}</text>')
    if verdict.cause and verdict.kind != "delivered":
        y += 15
        body.append(
            f'<text class="small" x="{where + 8}" y="{y}">{escape(verdict.cause)}; {escape(verdict.remedy)}</text>'
        )
    return y + ROW


def _notes(hop: Hop) -> Iterator[tuple[str, str, str]]:
    for change in hop.changes:
        yield "change", change, change
    for step in _deciding(hop.steps):
        yield "rule", (step.owner and f"{step.where} ({step.owner})") or step.where or step.text, step.text


def _deciding(steps: Sequence[Step]) -> Iterator[Step]:
    return (step for step in steps if step.deciding and not step.outer)
