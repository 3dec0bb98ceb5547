"""From build/benchmarks/results.json to a table, a plot and the blocks of two pages.

python benchmarks/report.py             write results.md and plot.svg anew
python benchmarks/report.py --readme    and put the rates into README.md, everything that must hold into
                                        benchmarks/README.md, between <!-- bench --> and <!-- /bench -->
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import _scripts  # noqa: F401
from project import ROOT, ScriptError, write_atomically
from servers import BUILD
from workloads import BARE, BARS, OURS, TITLES, WORKLOADS, Results, rows_per_second, values

RESULTS = "results.json"
#: What `make bench-memory` and `make bench-batch` write beside it; shown if they ran at full length.
OTHERS = ("memory", "batch")
BEGIN, END = "<!-- bench -->", "<!-- /bench -->"


def write(results: dict[str, Any], folder: Path) -> None:
    """Write results.json, results.md and plot.svg."""
    write_atomically(folder / RESULTS, json.dumps(results, indent=1) + "\n")
    found = read(folder)
    write_atomically(folder / "results.md", markdown(found))
    print(f"\n{bars(found)}\n\n{asked_for(found)}\n\nwritten: {folder / 'results.md'}", flush=True)
    if found["curves"]:
        plot(found, folder / "plot.svg")


def read(folder: Path) -> dict[str, Any]:
    """What was measured last.

    Raises:
        ScriptError: nothing was.
    """
    try:
        results: dict[str, Any] = json.loads((folder / RESULTS).read_text("utf-8"))
    except OSError as error:
        raise ScriptError(f"nothing has been measured ({error}); `make bench` does") from error
    for name in OTHERS:
        path = folder / f"{name}.json"
        found = json.loads(path.read_text("utf-8")) if path.exists() else {}
        if found.get("full"):
            results[name] = found
    return results


def markdown(results: Results) -> str:
    """results.md."""
    return "\n\n".join(["# Benchmark", *head(results), "## What must hold", bars(results), *details(results)]) + "\n"


def readme_block(results: Results) -> str:
    """What README shows: when and where, and the rates."""
    when, _what, _versions, *cautions = head(results)
    return "\n\n".join([BEGIN, when, *cautions, rates(results), END])


def last_run_block(results: Results) -> str:
    """What benchmarks/README.md shows: everything that must hold, and the rates."""
    return "\n\n".join([BEGIN, *head(results), bars(results), rates(results), END])


def put_into_page(page: str, block: str) -> str:
    """A page's text with the block in place of the one it has, or at its end."""
    if BEGIN in page:
        # Through a function, because a text would have its backslashes read.
        return re.sub(f"{BEGIN}.*?{END}", lambda _: block, page, count=1, flags=re.DOTALL)
    return f"{page.rstrip()}\n\n## Benchmark\n\n{block}\n"


def head(results: Results) -> list[str]:
    """When, where, with what, by which command; a paragraph each."""
    machine, model = results["machine"], results["model"]
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    when = (
        f"{results['date'][:10]}, `{results['command']}`: {results['rounds']} "
        f"{'round' if results['rounds'] == 1 else 'rounds'} on {machine['cores']} cores of {machine['processor']}, "
        f"{machine['memory_gb']} GB, {machine['system']}; commit {results['commit']}."
    )
    what = (
        f"Model trained on {model['data']} (artefact {model['artifact_sha256'][:12]}), asked about {results['asked']}. "
        "Two workers each. Medians over the rounds; every figure was measured with all validation, logs and ids on."
    )
    found = [when, what, f"{versions}."]
    if model["synthetic"]:
        found.append("**The model was trained on the synthetic sample**: its trees are not those of the real data.")
    if results["quick"]:
        found.append("**A quick run**: one short round, to look at, not to quote.")
    return found


def bars(results: Results) -> str:
    """The table of what must hold."""
    lines = ["| workload | measured | bar | aim | |", "| --- | ---: | ---: | ---: | --- |"]
    for bar in BARS:
        value = bar.value(results)
        limit = f"{'>=' if bar.least else '<='} {bar.unit.format(bar.bar)}"
        aim = "" if bar.aim is None else bar.unit.format(bar.aim)
        measured = f"`{bar.command}`" if value is None else bar.unit.format(value)
        verdict = "not measured" if value is None else "holds" if bar.holds(value) else "**missed**"
        lines.append(f"| {bar.title} | {measured} | {limit} | {aim} | {verdict} |")
    return "\n".join(lines)


def rates(results: Results) -> str:
    """Requests or rows a second of all servers, by workload."""
    names = [name for name in TITLES if any(name in of for of in results["runs"].values())]
    chosen = [workload for workload in WORKLOADS if len(results["runs"].get(workload.name, {})) > 1]
    lines = [
        f"| | {' | '.join(workload.title for workload in chosen)} |",
        f"| --- |{' ---: |' * len(chosen)}",
    ]
    for name in names:
        cells = []
        for workload in chosen:
            if name not in results["runs"][workload.name]:
                cells.append("")
            elif workload.rows == 1:
                rate, wait = (median(values(results, workload.name, name, of)) for of in ("rate", "median"))
                cells.append(f"{rate:,.0f} requests/s, {wait:.2f} ms")
            else:
                cells.append(f"{median(rows_per_second(results, workload.name, name)):,.0f} rows/s")
        lines.append(f"| {TITLES[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def details(results: Results) -> list[str]:
    """Every workload: rates with their spread, latencies, ratios."""
    found = ["## Rates", rates(results)]
    for workload in WORKLOADS:
        runs = results["runs"].get(workload.name)
        if not runs or workload.query:
            continue
        lines = [
            "| server | requests/s | lowest-highest | rows/s | median ms | p99 ms | ml_api is |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        ours = median(values(results, workload.name, OURS, "rate"))
        for name in (name for name in TITLES if name in runs):
            of = {figure: values(results, workload.name, name, figure) for figure in ("rate", "median", "p99")}
            rate = median(of["rate"])
            lines.append(
                f"| {TITLES[name]} | {rate:,.1f} | {min(of['rate']):,.1f}-{max(of['rate']):,.1f} "
                f"| {rate * workload.rows:,.0f} | {median(of['median']):.2f} | {median(of['p99']):.2f} "
                f"| {'' if name == OURS else f'{ours / rate:.2f}x'} |"
            )
        found += [f"## {workload.title[0].upper()}{workload.title[1:]}", "\n".join(lines)]
    found += ["## With optional details", asked_for(results)]
    found += ["## Start to ready", spread(results["start"], "s")]
    found += ["## In-process, bytes to price", spread({OURS: results["in process"]}, "µs")]
    if results["fast lane"] is not None:
        found.append(f"Share of all rows sent that took the fast lane: {results['fast lane']:.1%} (bad rows included).")
    if results["curves"]:
        found += ["## Curves", "![Time against rows; rate and p99 against connections](plot.svg)", curves(results)]
    return found


def asked_for(results: Results) -> str:
    """One record on one connection: the bare view, ours without and with optional details."""
    runs = results["runs"]
    shown = [("alone", BARE, TITLES[BARE]), ("alone", OURS, f"{TITLES[OURS]}, no parameters")]
    shown += [(workload.name, OURS, f"`?{workload.query}`") for workload in WORKLOADS if workload.query]
    lines = ["| one record, 1 connection | requests/s | median ms | p99 ms |", "| --- | ---: | ---: | ---: |"]
    for workload, server, title in shown:
        if server in runs.get(workload, {}):
            rate, middle, tail = (median(values(results, workload, server, of)) for of in ("rate", "median", "p99"))
            lines.append(f"| {title} | {rate:,.0f} | {middle:.2f} | {tail:.2f} |")
    return "\n".join(lines)


def spread(found: Mapping[str, Sequence[float]], unit: str) -> str:
    """A table of medians, lowest and highest."""
    lines = [f"| server | median {unit} | lowest-highest |", "| --- | ---: | ---: |"]
    for name, times in found.items():
        lines.append(f"| {TITLES[name]} | {median(times):.2f} | {min(times):.2f}-{max(times):.2f} |")
    return "\n".join(lines)


def curves(results: Results) -> str:
    """The plot in figures."""
    measured = results["curves"]
    lines = [
        f"| ms for so many rows, 1 connection | {' | '.join(f'{n:,}' for n in measured['rows'])} |",
        f"| --- |{' ---: |' * len(measured['rows'])}",
    ]
    for name, times in measured["milliseconds"].items():
        lines.append(f"| {TITLES[name]} | {' | '.join(f'{time:,.2f}' for time in times)} |")
    lines += [
        "",
        f"| requests/s (p99 ms) on so many connections | {' | '.join(map(str, measured['connections']))} |",
        f"| --- |{' ---: |' * len(measured['connections'])}",
    ]
    for name, loads in measured["loads"].items():
        cells = (f"{load['rate']:,.0f} ({load['p99']:,.1f})" for load in loads)
        lines.append(f"| {TITLES[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(results: Results, path: Path) -> None:
    """Draw time against rows, rate and p99 against connections."""
    import matplotlib as mpl  # noqa: PLC0415 - takes a second

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "bench"
    from matplotlib import pyplot as plt  # noqa: PLC0415

    measured = results["curves"]
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    colours = {name: f"C{position}" for position, name in enumerate(TITLES)}
    for name, times in measured["milliseconds"].items():
        axes[0].plot(measured["rows"], times, marker="o", color=colours[name], label=TITLES[name])
    for name, loads in measured["loads"].items():
        for axis, key in ((axes[1], "rate"), (axes[2], "p99")):
            line = [load[key] for load in loads]
            axis.plot(measured["connections"], line, marker="o", color=colours[name], label=TITLES[name])
    labels = (
        ("rows of a request", "milliseconds, 1 connection"),
        ("connections, one record each", "requests/s"),
        ("connections, one record each", "p99, milliseconds"),
    )
    for axis, (across, up) in zip(axes, labels, strict=True):
        axis.set(xlabel=across, ylabel=up, xscale="log", yscale="log")
        axis.grid(visible=True, which="major", alpha=0.3)
        axis.legend(fontsize=8)
    figure.suptitle(f"{results['date'][:10]}, {results['machine']['cores']} cores of {results['machine']['processor']}")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main(arguments: Sequence[str] | None = None, folder: Path = BUILD, root: Path = ROOT) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        "report.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--readme", action="store_true", help="rewrite the blocks of the two pages")
    options = parser.parse_args(arguments)
    try:
        results = read(folder)
        if options.readme and results["quick"]:
            raise ScriptError("the last run was a quick one; `make bench` measures what can be quoted")
    except ScriptError as error:
        print(f"report: {error}", file=sys.stderr)
        return error.status
    write_atomically(folder / "results.md", markdown(results))
    if results["curves"]:
        plot(results, folder / "plot.svg")
    if options.readme:
        for name, block in (("README.md", readme_block), ("benchmarks/README.md", last_run_block)):
            page = root / name
            write_atomically(page, put_into_page(page.read_text("utf-8"), block(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
