"""A table made by a seeded generator: numbers, categories, gaps, one loan in ten not paid back."""

import csv
from pathlib import Path

import numpy as np

from lit_opt.sources import CSV

NAMES = ("income", "amount", "age", "job", "city", "purpose", "paid_back")
JOBS = ("clerk", "nurse", "driver", "teacher", "none")


def loans(rows: int, seed: int) -> list[list[str]]:
    """The lines of the file, as text; the odds depend on products of columns, and on gaps."""
    draw = np.random.default_rng(seed)
    income, amount = draw.lognormal(1, 0.5, rows), draw.lognormal(0.5, 0.6, rows)
    age = draw.integers(18, 75, rows)
    job, city, purpose = (draw.integers(n, size=rows) for n in (len(JOBS), 30, 4))
    city_effect = np.random.default_rng(1).normal(0, 0.5, 30)
    odds = -4.4 + 1.4 * amount / income + city_effect[city] + 0.8 * (job == 4)
    odds += 1.5 * ((purpose == 2) & (age < 30)) - 0.02 * (age - 45) * (job == 2)
    gap = draw.random(rows) < 0.15 + 0.15 * (odds > -2)  # who earns little says so less often
    lost = draw.random(rows) < 1 / (1 + np.exp(-odds - 0.5 * gap))
    table = []
    for k in range(rows):
        place = "" if draw.random() < 0.05 else f"city {city[k]}"
        numbers = ["" if gap[k] else f"{income[k]:.3f}", f"{amount[k]:.3f}", str(age[k])]
        table.append([*numbers, JOBS[job[k]], place, f"p{purpose[k]}", "no" if lost[k] else "yes"])
    return table


class Loans(CSV):
    """Predicts which loan is paid back; your own file needs no class: --dataset CSV.

    Args:
        rows: Loans in the file; every fifth is a test sample.
    """

    def __init__(self, rows: int = 10000) -> None:
        super().__init__("loans.csv", "paid_back", regression=False)
        self.rows = rows

    def download(self, data_dir: Path) -> None:
        path = data_dir / f"loans-{self.rows}.csv"
        self.paths["train"] = str(path)
        if not path.is_file():
            data_dir.mkdir(parents=True, exist_ok=True)
            with path.open("w", newline="") as file:
                csv.writer(file).writerows([NAMES, *loans(self.rows, seed=0)])
