"""`report.html` of a run folder, and the command `report`."""

import shlex
from datetime import datetime
from pathlib import Path
from typing import Any

from lit_opt.engine.base.verb_parser import VerbParser
from lit_opt.engine.reports.charts import save_figure
from lit_opt.engine.reports.curves import curve_sections, curves_of
from lit_opt.engine.reports.outcome_page import outcome_figures, outcome_sections
from lit_opt.engine.reports.page import escaped, page, readable, table
from lit_opt.engine.reports.run_record import RunRecord, is_finite, read_run
from lit_opt.engine.runs.atomic_file import write_text

REPORT = "report.html"
STAGE_WORDS = {"val": "validation", "test": "test", "train": "training"}


def report(words: list[str]) -> None:
    """`python train.py report RUN [--format png svg]`."""
    parser = VerbParser(
        "report", "Makes report.html of a run folder, also of a run that was killed."
    )
    parser.add_argument("run", help="the run folder, such as runs/NAME", type=Path)
    parser.add_argument(
        "--format",
        nargs="+",
        choices=("png", "svg"),
        default=[],
        help="also its figures as files, in RUN/figures",
    )
    given = parser.parse_args(words)
    print(f"report: {write_report(given.run)}")
    for path in save_figures(given.run, given.format):
        print(path)


def write_report(folder: Path) -> Path:
    """The path of the page. Raises `UserError` if the folder is no run's."""
    run = read_run(folder)
    sections = [*curve_sections(run), *outcome_sections(run.outcomes), _how(run)]
    write_text(folder / REPORT, page(folder.resolve().name, sections, _lead(run)))
    return folder / REPORT


def save_figures(folder: Path, formats: list[str]) -> list[Path]:
    """The figures of the page in `folder/figures`; their paths."""
    paths = []
    run = read_run(folder)
    figures = {f"{chart.title} by {chart.x}": chart.spec() for chart in curves_of(run.rows)}
    for title, spec in (figures | outcome_figures(run.outcomes)).items():
        name = "".join(c if c.isalnum() else "-" for c in title)
        for suffix in formats:
            paths.append(folder / "figures" / f"{name}.{suffix}")
            save_figure(spec, paths[-1])
    return paths


# ---- its parts


def _lead(run: RunRecord) -> str:
    return f'<p class="lead">{escaped(_ending(run))}</p>{_headline(run)}'


def _headline(run: RunRecord) -> str:
    scores = {n: v for n, v in run.scores.items() if n.count("/") < 2}
    told = ""
    if not scores and run.best:
        step = run.best["step"]
        row = next(
            (
                row
                for row in reversed(run.rows)
                if row["step"] <= step and run.best["monitor"] in row
            ),
            {},
        )
        scores = {n: v for n, v in row.items() if n.startswith("val") and n.count("/") < 2}
        told = f'<p class="note">at epoch {run.best["epoch"] + 1}, the best so far</p>'
    items = "".join(
        f"<div{' class=main' if name == run.best.get('monitor') else ''}>"
        f"<dt>{escaped(_title(name))}</dt><dd>{escaped(_shown_score(name, value))}</dd></div>"
        for name, value in scores.items()
    )
    return f'<dl class="scores">{items}</dl>{told}' if items else ""


def _title(name: str) -> str:
    stage, _, metric = name.partition("/")
    return f"{STAGE_WORDS[stage]} {metric}" if metric and stage in STAGE_WORDS else name


def _shown_score(name: str, value: float | None) -> str:
    if value is None or not is_finite(value):
        return "not finite"
    return f"{value:.1%}" if name.endswith("acc") and value <= 1 else readable(float(value))


def _ending(run: RunRecord) -> str:
    epochs, steps = (run.setting("trainer", key) for key in ("max_epochs", "max_steps"))
    told = f"{run.epochs} of {epochs} epochs" if (epochs or 0) > 0 else f"{run.epochs} epochs"
    if (steps or 0) > 0 and run.rows:
        told = f"{int(run.rows[-1]['step']) + ('epoch' in run.rows[-1]):,} of {steps:,} steps"
    ended = run.starts[-1].get("ended", {}).get("why") if run.starts else None
    state = ended or ("finished" if run.finished else "not finished: it was stopped, or is at work")
    best = ""
    if run.best:
        best = f"; best at epoch {run.best['epoch'] + 1} by {run.best['monitor']}"
    return f"{told}; {state}{best}"


def _how(run: RunRecord) -> tuple[str, str]:
    start: dict[str, Any] = run.starts[-1] if run.starts else {}
    facts = [(key, value) for key, value in _facts(run, start) if value not in (None, "")]
    rows = "".join(
        f"<tr><th scope=row>{escaped(key)}</th><td>{escaped(value)}</td></tr>"
        for key, value in facts
    )
    again = f"python train.py --config {shlex.quote(str(run.folder / 'config.yaml'))}"
    html = f'<div class="scroll"><table>{rows}</table></div>'
    html += f"<h3>Again</h3><pre>{escaped(again)}</pre>"
    if run.starts:
        started = "\n".join(_command(start) for start in run.starts)
        html += f"<h3>As it was started</h3><pre>{escaped(started)}</pre>"
    if run.config_text:
        html += "<details><summary>config.yaml</summary>"
        html += f'<pre tabindex="0">{escaped(run.config_text)}</pre></details>'
    if versions := start.get("versions"):
        listed = table(["package", "version"], [[k, v or "none"] for k, v in versions.items()])
        html += f"<details><summary>versions</summary>{listed}</details>"
    return "How it was made", html


def _facts(run: RunRecord, start: dict[str, Any]) -> list[tuple[str, Any]]:
    devices, git = start.get("devices") or {}, start.get("git") or {}
    commit = git.get("commit", "")[:12]
    return [
        ("model", _class_name(run.setting("model", "net")) or _class_name(run.setting("model"))),
        ("data", _class_name(run.setting("data", "dataset")) or _class_name(run.setting("data"))),
        *_took(start.get("ended") or {}),
        ("seed", start.get("seed")),
        ("started", _date(start.get("date"))),
        (
            "device",
            f"{devices['number']} × {devices['accelerator']} ({devices['name']})"
            if devices
            else "",
        ),
        ("host", f"{start.get('host', '')}, {start.get('platform', '')}" if start else ""),
        ("commit", f"{commit}, with changes in {git['diff']}" if git.get("diff") else commit),
    ]


def _took(ended: dict[str, Any]) -> list[tuple[str, Any]]:
    seconds, training = ended.get("seconds"), ended.get("training_seconds")
    speed, memory, gpu = (
        ended.get(key) for key in ("samples_per_second", "memory_bytes", "gpu_memory_bytes")
    )
    of_training = f", {_duration(training)} of them in training" if training else ""
    return [
        ("time", f"{_duration(seconds)}{of_training}" if seconds is not None else None),
        ("throughput", f"about {readable(int(speed))} samples/s in training" if speed else None),
        ("memory", f"{memory / 2**20:,.0f} MiB at most" if memory else None),
        ("GPU memory", f"{gpu / 2**20:,.0f} MiB at most" if gpu else None),
    ]


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def _class_name(value: Any) -> str:
    path = value.get("class_path") if isinstance(value, dict) else value
    return str(path).rpartition(".")[2] if path else ""


def _date(text: Any) -> str:
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M %Z")
    except (TypeError, ValueError):
        return ""


def _command(start: dict[str, Any]) -> str:
    words = [str(word) for word in start.get("command", [])]
    program = Path(words[0]).name if words else "train.py"
    return shlex.join(["python", program, *words[1:]])
