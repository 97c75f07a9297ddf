"""Figure 4 of the paper: F-Consistency over the number of frames, as a PNG."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trip.evaluation.published import CURVE
from trip.system.files import atomic_write


def draw_curve(reports: Sequence[dict[str, Any]], path: Path) -> Path:
    """Draws what was measured as lines with their intervals, and of the paper the two points of each system that it prints.

    reports  of consistency, all of one protocol
    Raises ValueError where there is none, or matplotlib is not here.
    """
    if not reports or len({report["hash"] for report in reports}) > 1:
        raise ValueError(f"wanted reports of consistency of one protocol, got {len({r['hash'] for r in reports})} protocols")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError('wanted matplotlib to draw Figure 4 with, found none; pip install "trip[eval]"') from error
    figure = Figure(figsize=(6.4, 4.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    for report in reports:
        counts = sorted(map(int, report["curve"]))
        points = [report["curve"][str(count)] for count in counts]
        (line,) = axes.plot(counts, [point["value"] for point in points], marker="o", markersize=3, label=report["system"])
        if all(point["low"] is not None for point in points):
            ends = ([point[end] for point in points] for end in ("low", "high"))
            axes.fill_between(counts, *ends, color=line.get_color(), alpha=0.15, linewidth=0)
    if reports[0]["data"] == "webvid":
        for system, points in CURVE.items():
            axes.plot(list(points), list(points.values()), "x", label=f"{system}, published")
    axes.set(xlabel="number of frames", ylabel="F-Consistency, %")
    axes.set_title(f"{reports[0]['data']}, {reports[0]['protocol']['network']} [{reports[0]['hash']}]", fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png")
    return path
