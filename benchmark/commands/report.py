"""Make tables and figures from the records of one or more folders."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import api
from benchmark.commands._axes import OUT, RUNS, a_path, add_allow_code, flag, report_folder
from benchmark.core.numbers import Number
from benchmark.core.registry import InputError, module_names, unknown
from benchmark.core.spec import split_list

if TYPE_CHECKING:
    from results.reporting import Report


POINTS = Number(float, least=0.01, most=100)  # of a score x 100
IMAGES = Number(int, above=0, most=10_000)
FORMATS = "terminal,markdown,csv,latex,html"
MAIN_FILES = {
    "report.html": "everything on one page, opens without a network",
    "table.tex": "the table for a paper; also .md .csv .txt",
    "statistics.csv": "who differs from whom, with intervals",
    "compare.md": "claims and published numbers beside the records",
}
_HELPERS = {"shown", "style"}  # files of `results/figures/` that are no kind of figure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's flags."""
    parser.add_argument(
        "--runs", type=a_path, action="append", help="folder of records; repeatable"
    )
    parser.add_argument(
        "--from",
        dest="scores",
        type=a_path,
        action="append",
        default=[],
        metavar="CSV",
        help="scores of others: columns method, dataset, seed, metric and score (or percent); "
        "alone, or beside --runs",
    )
    parser.add_argument("--out", type=a_path, help=OUT)
    parser.add_argument(
        "--metric", help="instead of each data set's own, e.g. auc or balanced_accuracy"
    )
    parser.add_argument(
        "--against",
        metavar="METHOD",
        help="what statistics compare with (default: full, else the best)",
    )
    parser.add_argument(
        "--plan-seeds",
        type=flag(POINTS),
        metavar="D",
        help="tell how many seeds it takes to see a difference of D points",
    )
    parser.add_argument(
        "--latency",
        action="store_true",
        help="show the costs, with inference timed on this machine",
    )
    add_allow_code(parser)
    parser.add_argument("--efficiency", action="store_true", help="show what the methods cost")
    parser.add_argument(
        "--rescore",
        action="store_true",
        help="first compute scores that records lack, from stored predictions",
    )
    parser.add_argument("--suite", help="only the cells of a suite; see `list suites`")
    parser.add_argument(
        "--ablation",
        metavar="AXIS",
        help="also a table over one axis, e.g. lr, image_size or dvpt.prompts",
    )
    _add_figures(parser)
    parser.add_argument(
        "--format",
        default=FORMATS,
        metavar="A,B",
        help=f"files of tables to write (default: all: {FORMATS})",
    )


def _add_figures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--paper",
        type=a_path,
        action="append",
        default=[],
        metavar="FILE",
        help="also the table that a TOML file describes, see results/examples; repeatable",
    )
    parser.add_argument(
        "--paper-set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a value in place of that in the file, e.g. digits=2; repeatable",
    )
    parser.add_argument(
        "--figure-width",
        choices=("column", "page"),
        help="as wide as a column or a page in print (default: column)",
    )
    parser.add_argument("--no-titles", action="store_true", help="figures without titles")
    parser.add_argument(
        "--figures",
        metavar="A,B",
        help="kinds of figures to add, see `list figures`; or all, or none",
    )
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="where the data set or backbone lies that cells call NAME: for --panels, and for "
        "thumbnails in report.html; repeatable",
    )
    parser.add_argument(
        "--panels",
        type=flag(IMAGES),
        metavar="N",
        help="draw N test images with their segmentations, and where prompts of DVPT look",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write and show the report; return 1 when a record could not be read."""
    known = FORMATS.split(",")
    formats = split_list(arguments.format)
    for name in formats:
        if name not in known:
            raise unknown("format", name, known)
    kinds, sources = _kinds(arguments), _sources(arguments.source)
    if sources and not arguments.panels and "html" not in formats:
        raise InputError("--source is for --panels and for thumbnails in report.html; add one")
    keep = None if arguments.suite is None else _of_suite(arguments.suite)

    from results.figures.style import WIDTHS

    runs = arguments.runs or ([] if arguments.scores else [RUNS])
    needing = [name for name in ("rescore", "latency", "panels") if getattr(arguments, name)]
    if needing and not runs:
        raise InputError(f"--{needing[0]} is for trained cells; name their folder with --runs")
    if arguments.rescore:
        _rescore(runs)
    out = arguments.out or report_folder((runs or arguments.scores)[0])
    if arguments.latency:
        _latency(runs, out, arguments)
    if arguments.panels:
        _panels(runs, out, sources, arguments)
    made = api.report(
        [*runs, *arguments.scores],
        out,
        metric=arguments.metric,
        against=arguments.against,
        formats=formats,
        plan_seeds=arguments.plan_seeds,
        efficiency=arguments.efficiency or arguments.latency,
        figures=kinds,
        ablation=arguments.ablation,
        paper=_paper(arguments.paper, arguments.paper_set),
        figure_width=WIDTHS[arguments.figure_width or "column"],
        figure_titles=not arguments.no_titles,
        keep=keep,
        replaces=arguments.out is None,
        thumbnails=_thumbnails(sources) if sources and "html" in formats else None,
    )
    return show(made)


def _paper(files: list[Path], changes: list[str]) -> dict[str, Any]:
    """Return the designs of a paper's tables by the start of the names of their files."""
    from results import paper_table

    if changes and not files:
        raise InputError("--paper-set changes a table of --paper FILE; name the file")
    designs = {}
    for path in dict.fromkeys(files):
        if (name := f"paper-{path.stem}") in designs:
            raise InputError(f"two files of --paper would both make {name}.tex; rename one")
        designs[name] = paper_table.read(path, changes)
    return designs


def _of_suite(name: str) -> Callable[[Mapping[str, Any]], bool]:
    """Return what says of a cell whether it is of the suite; resolving names takes torch."""
    from benchmark.sweep.matching import matches
    from benchmark.sweep.suites import suites

    grids = [matches(grid) for grid in suites[name]()]
    return lambda cell: any(grid(cell) for grid in grids)


def _rescore(folders: list[Path]) -> None:
    from benchmark.scores.rescore import rescore

    for folder in folders:
        count, faults = rescore(folder)
        print(f"{count} cells below {folder} were scored again")
        for fault in faults:
            print(f"not scored: {fault}", file=sys.stderr)


def _kinds(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Return the kinds of figures that the flags ask for; names are checked before any import."""
    asked = [] if arguments.figures is None else split_list(arguments.figures)
    known = set(module_names("results.figures")) - _HELPERS
    for name in asked:
        if name not in {*known, "all", "none"}:
            raise unknown("figure", name, {*known, "all", "none"})
    if "none" in asked and (len(asked) > 1 or arguments.panels):
        raise InputError("--figures none cannot be with other figures, nor with --panels")
    if "none" in asked:
        if arguments.no_titles or arguments.figure_width:
            raise InputError("--figures none leaves nothing to --no-titles and --figure-width")
        return ()
    from results.figures import chosen

    return chosen([*asked, *(("panels", "attention") if arguments.panels else ())])


def _sources(pairs: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, _, path = pair.partition("=")
        if not (name and path):
            raise InputError(f"--source {pair!r} is not NAME=PATH, such as my_set=my/manifest.csv")
        if found.get(name, path) != path:
            raise InputError(f"--source names two places of {name!r}; leave one out")
        found[name] = path
    return found


def _thumbnails(
    sources: Mapping[str, str],
) -> Callable[[str, str, Sequence[str]], Mapping[str, bytes]]:
    """Return what finds small pictures of test images, where their data set is among `sources`."""
    from benchmark.data.thumbnails import thumbnails

    def find(name: str, fingerprint: str, ids: Sequence[str]) -> Mapping[str, bytes]:
        try:
            return thumbnails(sources[name], fingerprint, ids) if name in sources else {}
        except InputError as error:  # the page is worth having without them
            print(f"no thumbnails of {name}: {error}", file=sys.stderr)
            return {}

    return find


def _panels(
    folders: list[Path], out: Path, sources: dict[str, str], arguments: argparse.Namespace
) -> None:
    """Read test images and attention again; `results` cannot, it knows no torch."""
    from benchmark.core.files import filled
    from benchmark.trained.panels import write
    from benchmark.training.session import Session

    num, allowed = arguments.panels, arguments.allow_code
    with filled(out, replaces=arguments.out is None) as made:
        for folder in folders:
            # records of others are read where they lie: nothing is written beside them
            session = Session(cache=out / "cache", sources=sources)
            paths, skipped = write(folder, made, session, num, allowed)
            print(f"wrote {len(paths)} files to {out / 'panels'}/")
            for reason in skipped:
                print(f"no panels of {reason}", file=sys.stderr)


def _latency(folders: list[Path], out: Path, arguments: argparse.Namespace) -> None:
    """Time the methods of the folders; `results` cannot, it knows no torch."""
    from benchmark.bench.latency import write
    from benchmark.bench.timing import Watch
    from benchmark.core.files import filled
    from benchmark.training.session import best_device
    from results.costs.ledger import LATENCY

    with filled(out, [LATENCY], replaces=arguments.out is None) as made:
        write(folders, made, Watch(best_device()), batch=16, allowed=arguments.allow_code)
    print(f"wrote {out / LATENCY}")


def show(report: Report) -> int:
    """Print the table, what was written and what could not be read; return the exit code."""
    print(report.text.rstrip("\n"))
    if report.paths:
        folder = report.paths[0].parent
        print(f"\n{len(report.paths)} files in {folder}/, first of all:")
        names = {path.name for path in report.paths}
        for name, what in MAIN_FILES.items():
            if name in names:
                print(f"  {folder / name}  {what}")
    for note in report.notes:
        print(note, file=sys.stderr)
    for fault in report.faults:
        print(f"not used: {fault}", file=sys.stderr)
    return 1 if report.faults else 0
