"""The figures that the paper prints (Zhang et al., CVPR 2024, Tables 1 to 6): data, to stand beside what is measured here."""

from dataclasses import dataclass

COLUMNS = {  # measure -> how a table heads it
    "f_consistency_4": "F-Consistency₄ ↑",
    "f_consistency_all": "F-Consistency all ↑",
    "fid": "FID ↓",
    "fvd": "FVD ↓",
}
CONSISTENCY = ("f_consistency_4", "f_consistency_all", "fvd")
DISTANCES = ("fid", "fvd")


@dataclass(frozen=True)
class Row:
    """What the paper prints of a system.

    system   its name; reports of that name, or of that variant, stand beside it
    figures  as printed, in the order of the table's columns; none: not given
    note     what the paper says of it beside its name
    variant  which of the paper's own it is
    """

    system: str
    figures: tuple[str | None, ...]
    note: str = ""
    variant: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the paper; `data` is what reports call the data set."""

    number: int
    title: str
    data: str
    measures: tuple[str, ...]
    rows: tuple[Row, ...]


TRIP = Row("TRIP", ("95.36", "96.41", "38.9"), variant="trip")
TABLES = (
    Table(
        1, "F-Consistency and FVD on WebVid-10M", "webvid", CONSISTENCY,
        (Row("T2V-Zero", ("91.59", "92.15", "279")), Row("VideoComposer", ("88.78", "92.52", "231")), TRIP),
    ),
    Table(
        2, "FID and FVD on DTDB, means over four categories of scenes", "dtdb", DISTANCES,
        (
            Row("AL", ("65.1", "934.2"), "not zero-shot"), Row("cINN", ("31.9", "451.6"), "not zero-shot"),
            Row("TRIP", ("24.8", "433.9"), "zero-shot", "trip"),
        ),
    ),
    Table(
        3, "FID and FVD on MSR-VTT", "msrvtt", DISTANCES,
        (
            Row("CogVideo", ("23.59", "1294"), "text to video"), Row("Make-A-Video", ("13.17", None), "text to video"),
            Row("VideoComposer, text to video", (None, "580")), Row("ModelScopeT2V", ("11.09", "550"), "text to video"),
            Row("VideoComposer", ("31.29", "208"), "image to video"), Row("TRIP", ("9.68", "91.3"), "image to video", "trip"),
        ),
    ),
    Table(
        5, "Where the first frame is attached, on WebVid-10M", "webvid", CONSISTENCY,
        (Row("TRIP_C", ("94.77", "96.13", "41.3"), variant="trip-c"), Row("TRIP_TE", ("95.17", "96.20", "39.8"), variant="trip-te"), TRIP),
    ),
    Table(
        6, "Temporal residual learning, on WebVid-10M", "webvid", CONSISTENCY,
        (Row("TRIP⁻", ("94.66", "95.92", "39.9"), variant="trip-minus"), Row("TRIP^W", ("95.22", "95.96", "43.0"), variant="trip-w"), TRIP),
    ),
)  # fmt: skip
PREFERENCES = {  # Table 4: question -> per cent that preferred TRIP to each system
    "Temporal coherence": {"T2V-Zero": 96.9, "VideoComposer": 84.4},
    "Motion fidelity": {"T2V-Zero": 93.8, "VideoComposer": 81.3},
    "Visual quality": {"T2V-Zero": 90.6, "VideoComposer": 87.5},
}
CURVE = {  # Figure 4 has no numbers; these two of its points are in Table 1
    row.system: {4: float(row.figures[0]), 16: float(row.figures[1])} for row in TABLES[0].rows
}
