"""Whether two configurations differ by more than the seed does."""

import math
import statistics
import sys
from dataclasses import dataclass

NEEDED = 3  # seeds of each, below which a spread says next to nothing


@dataclass
class Difference:
    """Of two sets of scores: `effect` is the difference of their means, first less second.

    `test` names the test, `n` the seeds of each; `low` and `high` bound the 95 % interval of the
    effect; `p` is the probability of such an effect, or a larger one, without a difference.
    """

    test: str
    n: tuple[int, int]
    effect: float
    low: float
    high: float
    p: float

    def __str__(self) -> str:
        n = f"n = {self.n[0]}" if self.n[0] == self.n[1] else f"n = {self.n[0]} and {self.n[1]}"
        if math.isnan(self.p):
            return f"no test, {n}: {self.effect:+.4g}, without any spread over the seeds"
        verdict = "more than the seeds' noise" if self.p < 0.05 else "within the seeds' noise"
        between = f"95 % interval {self.low:+.4g} to {self.high:+.4g}"
        return f"{self.test}, {n}: {self.effect:+.4g}, {between}, p = {self.p:.2g}: {verdict}"


def difference(first: dict[str, float], second: dict[str, float]) -> Difference | str:
    """Student's t-test of pairs of the same seed, or Welch's where fewer than 3 are in common.

    Args:
        first: A score by the seed.
        second: The same of the other configuration.

    Returns:
        The difference, or the reason why there is no test.
    """
    from scipy import stats

    n = len(first), len(second)
    if min(n) < NEEDED:
        return (
            f"no test: {n[0]} and {n[1]} seeds with scores; it takes {NEEDED} of each to tell a "
            f"difference from the seeds' noise: --seeds {NEEDED}"
        )
    shared = sorted(first.keys() & second.keys())
    if len(shared) >= NEEDED:
        a, b = [first[seed] for seed in shared], [second[seed] for seed in shared]
        name, n = "paired t-test", (len(shared), len(shared))
        effect = statistics.mean(x - y for x, y in zip(a, b, strict=True))
        gaps = [x - y for x, y in zip(a, b, strict=True)]
        if max(gaps) - min(gaps) <= 8 * sys.float_info.epsilon * max(map(abs, [*a, *b])):
            return Difference(name, n, effect, effect, effect, math.nan)
        result = stats.ttest_rel(a, b)
    else:
        a, b = [*first.values()], [*second.values()]
        name, effect = "Welch's t-test", statistics.mean(a) - statistics.mean(b)
        if len({*a}) == len({*b}) == 1:
            return Difference(name, n, effect, effect, effect, math.nan)
        result = stats.ttest_ind(a, b, equal_var=False)
    interval = result.confidence_interval(0.95)
    return Difference(
        name, n, effect, float(interval.low), float(interval.high), float(result.pvalue)
    )
