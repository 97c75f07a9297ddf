"""Reports as Markdown tables, to be put into a README."""

from trip.evaluation.bootstrap import NOTHING, Estimate, with_interval

NAMES = {"network": "network's own frames", "rendered": "rendered clip", "still": "still image", "true": "true clips of other seeds"}


def motion_tables(report: dict) -> str:
    """Tables of a report of `evaluate_motion`: camera motions overall, motion by motion, and scenes, where there are any."""
    tables = [_overall(report), _per_motion(report)]
    if report["scenes"]["num_clips"]:
        tables.append(_scenes(report["scenes"]))
    return "\n\n".join(tables)


def _overall(report: dict) -> str:
    sources, overall, still = list(report["overall"]), report["overall"], report["still"]
    rows = [
        ["camera clips that go where told", *(_share(overall[s]["right"]) for s in sources)],
        ["PSNR to the truly moved clip, dB", *(with_interval(overall[s]["psnr"], 1) for s in sources)],
        ["above a still image, dB", *(with_interval(overall[s]["gain_db"], 1) for s in sources)],
        ["SSIM to the truly moved clip", *(with_interval(overall[s]["ssim"], 3) for s in sources)],
        ["sharpness of the last frame, share of the truly moved one's", *(with_interval(overall[s]["sharpness"], 2) for s in sources)],
        ['lowest PSNR to the photo under "still", dB: mean over photos', *(with_interval(still[s]["least_psnr"], 1) for s in sources)],
        ["the same, of the lowest photo", *(_plain(still[s]["lowest_psnr"], 1) for s in sources)],
        ['median flow under "still" against that under a pan', *(with_interval(still[s]["still_to_pan_flow"], 2) for s in sources)],
    ]
    size, number = report["protocol"]["size"], report["num_photos"]
    return _table(
        [f"{number} photo{'s' * (number != 1)} at {size} × {size} [95 % interval over photos]", *(NAMES[s] for s in sources)], rows
    )


def _per_motion(report: dict) -> str:
    best, rows = report["judged"], []
    for name, of in report["per_motion"].items():
        ours, plain = of[best], of["still"]
        measured = (with_interval(ours[name], digits) for name, digits in {"psnr": 1, "ssim": 3, "sharpness": 2}.items())
        rows.append([name.replace("_", " "), _share(ours["right"]), *measured, _plain(plain["psnr"]["value"], 1)])
    return _table([f"motion, {NAMES[best]}", "goes where told", "PSNR, dB", "SSIM", "sharpness", "still image's PSNR, dB"], rows)


def _scenes(scenes: dict) -> str:
    sources = list(scenes["right"])
    rows = [[name.replace("_", " "), *(_share(of[s]) for s in sources)] for name, of in scenes["per_scene"].items()]
    rows.append(["all", *(_share(scenes["right"][s]) for s in sources)])
    rows.append(["verdicts dealt anew", *(f"{100 * scenes['by_habit'][s]:.0f} %" for s in sources)])
    title = f"{scenes['num_clips']} scene clips that are nearest to the scene asked for; chance {100 * scenes['chance']:.0f} %"
    return _table([title, *(NAMES[s] for s in sources)], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def _share(figure: Estimate) -> str:
    return with_interval({**figure, **{k: figure[k] and 100 * figure[k] for k in ("value", "low", "high")}}, 0, " %")


def _plain(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"
