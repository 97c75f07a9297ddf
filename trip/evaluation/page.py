"""Tables, and the clips of some runs side by side on one clock, as one static HTML file that names the runs' pictures."""

import html
import json
import os
from collections.abc import Sequence
from pathlib import Path

from trip.evaluation.clip_sets import RUN, run_metadata
from trip.evaluation.paper_tables import Cells

MOST_CLIPS = 48  # that a page shows of each data set
KINDS = {"real": "real clip", "network": "network's own frames", "rendered": "rendered"}

STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #8886; padding: .3rem .7rem; text-align: left; font-variant-numeric: tabular-nums; }
small { color: #888; display: block; overflow-wrap: anywhere; }
.clips { border-top: 1px solid #8886; padding: 1rem 0; }
.clips div { display: flex; flex-wrap: wrap; gap: .8rem; }
figure { margin: 0; } figcaption { font-size: .85rem; } img { display: block; width: 14rem; height: 14rem; background: #8883; }
#clock { background: Canvas; padding: .6rem 0; position: sticky; top: 0; }
button:focus-visible, input:focus-visible { outline: 2px solid Highlight; }
"""
SCRIPT = """
const pictures = [...document.querySelectorAll("img[data-frames]")].map(i => ({img: i, frames: JSON.parse(i.dataset.frames), near: false}));
const slider = document.getElementById("frame"), button = document.getElementById("play");
const most = Math.max(1, ...pictures.map(p => p.frames.length));
slider.max = most - 1;
const watch = new IntersectionObserver(seen => seen.forEach(s => {
  const one = pictures.find(p => p.img === s.target);
  one.near = s.isIntersecting;
  if (one.near && !one.loaded) one.loaded = one.frames.map(name => { const i = new Image(); i.src = name; return i; });
  if (one.near) show();
}), {rootMargin: "50%"});
pictures.forEach(p => watch.observe(p.img));
function show() {
  pictures.filter(p => p.near).forEach(p => { p.img.src = p.frames[Math.min(slider.value, p.frames.length - 1)]; });
}
let playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;
const told = () => { button.textContent = playing ? "Pause" : "Play"; };
button.onclick = () => { playing = !playing; told(); };
slider.oninput = () => { playing = false; told(); show(); };
setInterval(() => {
  if (playing) { slider.value = (Number(slider.value) + 1) % most; show(); }
}, 1000 * Number(document.body.dataset.stride));
told();
"""


def page(tables: Sequence[tuple[str, list[Cells], list[str]]], runs: Path, beside: Path) -> str:
    """The HTML of the tables and of the clips of all runs below a folder; clips of one name stand in one row.

    beside  folder that the page will lie in; it names the pictures from there
    """
    parts = []
    for title, (head, *rows), lines in tables:
        cells = "".join(f"<th scope=col>{html.escape(cell)}</th>" for cell in head)
        body = "".join(
            f"<tr><th scope=row>{html.escape(row[0])}</th>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:]) + "</tr>"
            for row in rows
        )
        notes = "".join(f"<small>{html.escape(line)}</small>" for line in lines)
        parts.append(f"<h2>{html.escape(title)}</h2><table><tr>{cells}</tr>{body}</table>{notes}")
    found = sorted(path.parent for path in runs.rglob(RUN))
    stride = next((run_metadata(run / "real").get("stride") for run in found), None) or 0.25
    shown = [row for data in sorted({run_metadata(run / "real").get("data", "") for run in found}) for row in _rows(found, data, beside)]
    clock = '<p id="clock"><button id="play">Play</button> <input id="frame" type="range" min="0" value="0" aria-label="Frame"></p>'
    clips = f"<h2>Clips, all on one clock</h2>{clock}{''.join(shown)}<script>{SCRIPT}</script>" if shown else ""
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Figures and clips</title><style>{STYLE}</style>'
    )
    body = f'<body data-stride="{stride:g}"><h1>Figures and clips</h1>{"".join(parts)}{clips}</body>'
    return f'<!doctype html><html lang="en">{head}{body}</html>\n'


def _rows(runs: Sequence[Path], data: str, beside: Path) -> list[str]:
    mine = [run for run in runs if run_metadata(run / "real").get("data", "") == data]
    names = sorted({path.relative_to(run / "clips").with_suffix("").as_posix() for run in mine for path in (run / "clips").rglob("*.json")})
    return [_row(mine, name, beside) for name in names[:MOST_CLIPS]]


def _row(runs: Sequence[Path], name: str, beside: Path) -> str:
    shown, prompt, has_real = [], "", False
    for run in runs:
        record = run / "clips" / f"{name}.json"
        if not record.is_file():
            continue
        prompt = prompt or str(json.loads(record.read_text()).get("prompt", ""))
        system = str(run_metadata(run / "real").get("system", run.name))
        for kind, words in KINDS.items():
            frames = sorted((run / kind / name).glob("*.png"))
            if not frames or (kind == "real" and has_real):
                continue
            has_real |= kind == "real"
            paths = html.escape(json.dumps([Path(os.path.relpath(frame, beside)).as_posix() for frame in frames]))
            label = html.escape(words if kind == "real" else f"{system}, {words}")
            shown.append(f'<figure><img data-frames="{paths}" alt="{label}"><figcaption>{label}</figcaption></figure>')
    return f'<section class="clips"><p>{html.escape(prompt)} <small>{html.escape(name)}</small></p><div>{"".join(shown)}</div></section>'
