"""The report of an evaluation: one self-contained page of HTML that opens offline.

It shows the scores with their definitions, the precision–recall curve as inline SVG, a table of images with
the worst first, and pictures of the worst few as inline PNG. Colours are those of Okabe and Ito.
"""

import math
from collections.abc import Sequence
from html import escape

from roadseg.evaluation.scores import ImageScore, PrecisionRecall, Scores
from roadseg.metrics.error_classes import COLOURS, COVERED, FALSE_NEGATIVE, FALSE_POSITIVE, TRUE_POSITIVE

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 560, 420, 56, 48, 16, 16
_CURVES = ("#0072b2", "#d55e00")

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; max-width: 72rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
p.sub, figcaption, .note { color: #4a4a4a; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top; }
th { font-weight: 600; } td.n, th.n { text-align: right; white-space: nowrap; }
.wide { overflow-x: auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .8rem; margin: 1.2rem 0; }
.tiles div { border: 1px solid #ccc; border-radius: 6px; padding: .6rem .8rem; }
.tiles b { display: block; font-size: 1.5rem; font-weight: 600; }
figure { margin: 1rem 0 2rem; } figure img { max-width: 100%; border: 1px solid #ccc; image-rendering: auto; }
.key span { display: inline-block; margin-right: 1.2rem; }
.key i { display: inline-block; width: 1em; height: 1em; margin-right: .4em; vertical-align: -.15em;
  border: 1px solid #555; }
svg { max-width: 100%; height: auto; } svg text { font: 13px system-ui, sans-serif; fill: #333;
  paint-order: stroke; stroke: #fff; stroke-width: 4px; stroke-linejoin: round; }
h1, p.sub, figcaption, td.path { overflow-wrap: anywhere; }
@media print { h2, .key, figcaption { break-after: avoid; } figure, svg, tr { break-inside: avoid; }
  .wide { overflow: visible; } .wide table { font-size: .7rem; } .wide th { white-space: normal; } }
"""


def html(scores: Scores, *, version: str) -> str:
    """Return the page as text, UTF-8."""
    heading = "Road masks against truth" if scores.kind == "pixels" else "Road networks against truth"
    title = f"{scores.settings.get('prediction', '')} against {scores.settings.get('truth', '')}"
    parts = [
        f"<h1>{heading}</h1>\n<p class=sub>{escape(title)} — roadseg {escape(version)}</p>",
        _tiles(scores),
        "".join(f"<p class=note>{escape(note)}.</p>\n" for note in scores.notes),
        f"<h2>Scores</h2>\n{_figures(scores)}",
        f"<h2>Precision and recall</h2>\n{curve_svg(scores.curves)}" if scores.curves else "",
        f"<h2>One by one, worst first</h2>\n{_table(scores.images)}",
        _pictures(scores.images),
        f"<h2>Settings</h2>\n{_settings(scores)}",
    ]
    body = "\n".join(part for part in parts if part)
    return (
        f"<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n<title>{escape(title)}</title>\n"
        '<meta name=viewport content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def curve_svg(curves: Sequence[PrecisionRecall]) -> str:
    """Return precision over recall as SVG, with the break-even point of each curve marked."""
    parts = [_frame()]
    for curve, colour in zip(curves, _CURVES, strict=False):
        defined = [
            (r, p) for p, r in zip(curve.precision, curve.recall, strict=True) if not (math.isnan(p) or math.isnan(r))
        ]
        points = " ".join(f"{_x(r):.1f},{_y(p):.1f}" for r, p in defined)
        dashes = ' stroke-dasharray="6 4"' if colour != _CURVES[0] else ""
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2"{dashes} points="{points}"/>')
        if curve.break_even is not None:
            parts.append(_mark(curve, colour))
    names = "".join(
        f'<text x="{_LEFT + 12}" y="{_HEIGHT - _BOTTOM - 12 - 18 * i}" style="fill:{colour}">'
        f"{'—' if i == 0 else '- -'} {escape(curve.name)}</text>"
        for i, (curve, colour) in enumerate(zip(curves, _CURVES, strict=False))
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'aria-label="Precision over recall at all thresholds">{"".join(parts)}{names}</svg>'
    )


def number(value: float, digits: int = 4) -> str:
    """Return a ratio as text, a dash if it is undefined."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _x(recall: float) -> float:
    return _LEFT + recall * (_WIDTH - _LEFT - _RIGHT)


def _y(precision: float) -> float:
    return _HEIGHT - _BOTTOM - precision * (_HEIGHT - _BOTTOM - _TOP)


def _frame() -> str:
    """Return axes, a grid, and the diagonal on which precision equals recall."""
    marks = []
    for step in range(11):
        share = step / 10
        colour = "#555" if step == 0 else "#e3e3e3"
        marks.append(f'<path d="M{_x(0):.1f} {_y(share):.1f}H{_x(1):.1f}" stroke="{colour}"/>')
        marks.append(f'<path d="M{_x(share):.1f} {_y(0):.1f}V{_y(1):.1f}" stroke="{colour}"/>')
        if step % 2 == 0:
            marks.append(f'<text x="{_x(share):.1f}" y="{_y(0) + 18:.1f}" text-anchor="middle">{share:g}</text>')
            marks.append(f'<text x="{_LEFT - 8}" y="{_y(share) + 4:.1f}" text-anchor="end">{share:g}</text>')
    marks.append(f'<path d="M{_x(0):.1f} {_y(0):.1f}L{_x(1):.1f} {_y(1):.1f}" stroke="#999" stroke-dasharray="2 4"/>')
    marks.append(f'<text x="{_x(0.5):.1f}" y="{_HEIGHT - 8}" text-anchor="middle">recall</text>')
    middle = f"{_y(0.5):.1f}"
    marks.append(f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">precision</text>')
    return "".join(marks)


def _mark(curve: PrecisionRecall, colour: str) -> str:
    at = curve.break_even or 0
    precision, recall = curve.precision[at], curve.recall[at]
    text = f"break-even {(precision + recall) / 2:.4f} at {curve.threshold[at]:.3f}"
    across, down, anchor = (-10, 18, "end") if recall > 0.55 else (10, -10, "start")
    return (
        f'<circle cx="{_x(recall):.1f}" cy="{_y(precision):.1f}" r="5" fill="#fff" stroke="{colour}" stroke-width="2"/>'
        f'<text x="{_x(recall) + across:.1f}" y="{_y(precision) + down:.1f}" text-anchor="{anchor}">{text}</text>'
    )


def _tiles(scores: Scores) -> str:
    wanted = ("IoU", "relaxed F1", "break-even point", "clDice", "APLS", "TOPO F1", "completeness", "correctness")
    shown = [figure for figure in scores.figures if figure.name in wanted]
    cells = "".join(f"<div>{escape(f.name)}<b>{number(f.value)}</b></div>" for f in shown)
    return f"<div class=tiles>{cells}</div>"


def _figures(scores: Scores) -> str:
    rows = "".join(
        f"<tr><td>{escape(f.name)}</td><td class=n>{number(f.value)}</td><td>{escape(f.definition)}</td></tr>\n"
        for f in scores.figures
    )
    return f"<table>\n<tr><th>score</th><th class=n>value</th><th>definition</th></tr>\n{rows}</table>"


def _table(images: Sequence[ImageScore]) -> str:
    if not images:
        return "<p>none</p>"
    names = list(images[0].values)
    head = "".join(f"<th class=n>{escape(name)}</th>" for name in names)
    rows = "".join(
        f"<tr><td>{escape(image.name)}</td>"
        + "".join(f"<td class=n>{number(image.values.get(name, math.nan), 3)}</td>" for name in names)
        + "</tr>\n"
        for image in images
    )
    return f"<div class=wide><table>\n<tr><th>name</th>{head}</tr>\n{rows}</table></div>"


def _pictures(images: Sequence[ImageScore]) -> str:
    shown = [image for image in images if image.picture]
    if not shown:
        return ""
    meaning = {
        TRUE_POSITIVE: "right: predicted, road within the slack",
        COVERED: "road within the slack of predicted road",
        FALSE_POSITIVE: "false: predicted, no road within the slack",
        FALSE_NEGATIVE: "missed: road, none predicted within the slack",
    }
    key = "".join(f'<span><i style="background:rgb{COLOURS[kind]}"></i>{text}</span>' for kind, text in meaning.items())
    figures = "".join(
        f"<figure><figcaption>{escape(image.name)}, IoU {number(image.values['IoU'], 3)}</figcaption>"
        f'<img alt="right, false and missed roads of {escape(image.name)}" '
        f'src="data:image/png;base64,{image.picture}"></figure>\n'
        for image in shown
    )
    return f"<h2>Errors of the worst images</h2>\n<p class=key>{key}</p>\n{figures}"


def _settings(scores: Scores) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td class=path>{escape(_plain(value))}</td></tr>\n"
        for name, value in scores.settings.items()
        if value not in (None, "")
    )
    return f"<table>\n{rows}</table>"


def _plain(value: str | float | bool | None) -> str:
    return f"{value:,.10g}" if isinstance(value, float) else str(value)
