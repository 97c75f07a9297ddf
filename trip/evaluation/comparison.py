"""Two checkpoints on the same photos and seeds: by motion, paired photo by photo, better, worse or no difference."""

from collections.abc import Iterator

from trip.evaluation.bootstrap import Estimate, paired_difference, verdict

UNITS = {"psnr": "dB", "least_psnr_to_photo": "dB", "ssim": "", "right": "of clips", "margin": ""}


def compare(ours: dict, theirs: dict) -> list[dict[str, object]]:
    """One dict a line: what is compared, by which figure, how much higher ours is with its interval over photos, and the verdict.

    Camera motions are compared by PSNR to the truly moved clip, "still" by the lowest PSNR to the photo, scenes by how much nearer the
    asked scene is than the nearest other. Both are judged by the clip that people get.
    ours, theirs  reports of `evaluate_motion`
    Raises ValueError where they were not measured alike.
    """
    check_alike(ours, theirs)
    if not {c["photo"] for c in ours["clips"]} & {c["photo"] for c in theirs["clips"]}:
        raise ValueError("wanted two reports on the same photos, got none that are in both; measure both on the same folder")
    return [
        {"what": what, "figure": figure, "difference": difference, "verdict": verdict(difference)}
        for what, figure, difference in _differences(ours, theirs)
        if difference["value"] is not None
    ]


def check_alike(ours: dict, theirs: dict) -> None:
    """ValueError, in one line, where two reports are not of one protocol. Steps, guidance and scheduler may be what is compared.

    ours  a report, or as much of one as is known before it is measured
    """
    one, other = ({**report["protocol"], "surroundings": report.get("surroundings", False)} for report in (ours, theirs))
    if different := [f"{name} {value} and {other.get(name)}" for name, value in one.items() if other.get(name) != value]:
        raise ValueError(f"wanted two reports of one protocol, got {', '.join(different)}; measure both alike")


def _differences(ours: dict, theirs: dict) -> Iterator[tuple[str, str, Estimate]]:
    seed = ours["protocol"]["seed"]

    def clips(report: dict, source: str, motion: str | None = None) -> list[dict]:
        return [c for c in report["clips"] if c["source"] == source and (c["motion"] == motion or not motion and c["motion"] != "still")]

    def scenes(report: dict, scene: str | None = None) -> list[dict]:
        return [c for c in report["scene_clips"] if c["source"] == report["judged"] and scene in (None, c["scene"])]

    yield "network's own frames", "psnr", paired_difference(clips(ours, "network"), clips(theirs, "network"), "psnr", seed)
    for figure in ("right", "psnr", "ssim"):
        pair = (clips(report, report["judged"]) for report in (ours, theirs))
        yield "camera motions", figure, paired_difference(*pair, figure, seed)
    yield "scenes", "right", paired_difference(scenes(ours), scenes(theirs), "right", seed)
    for name in ours["per_motion"]:
        figure = "least_psnr_to_photo" if name == "still" else "psnr"
        pair = (clips(report, report["judged"], name) for report in (ours, theirs))
        yield name, figure, paired_difference(*pair, figure, seed)
    for name in ours["scenes"]["per_scene"]:
        yield name, "margin", paired_difference(scenes(ours, name), scenes(theirs, name), "margin", seed)


def line(compared: dict) -> str:
    """One line for people."""
    difference, figure = compared["difference"], compared["figure"]
    number = difference["num_photos"]
    ends = f" [{difference['low']:+.2f}, {difference['high']:+.2f}]" if difference["low"] is not None else ""
    amount = " ".join(f"{difference['value']:+.2f}{ends} {UNITS[figure]}".split())
    words = {"psnr": "PSNR", "ssim": "SSIM", "right": "right", "margin": "margin", "least_psnr_to_photo": "lowest PSNR to the photo"}
    return f"{compared['what'].replace('_', ' ')}: {compared['verdict']}, {words[figure]} {amount}, {number} photo{'s' * (number != 1)}"
