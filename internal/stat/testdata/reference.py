"""Makes reference.json: what SciPy, statsmodels and ruptures answer to the questions of
reference_test.go. Run it in an environment with

    pip install scipy==1.17.1 statsmodels==0.15.0 ruptures==1.1.10

    python reference.py > reference.json
"""

import json
import math

import numpy as np
import ruptures
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower


def ratio(a, b, confidence):
    x, y = np.log(a), np.log(b)
    r = stats.ttest_ind(x, y, equal_var=False)
    ci = r.confidence_interval(confidence)
    return {"a": a, "b": b, "confidence": confidence, "value": math.exp(x.mean() - y.mean()),
            "low": math.exp(ci.low), "high": math.exp(ci.high), "p": float(r.pvalue), "df": float(r.df)}


def rank_sum(a, b):
    """Two-sided p over all permutations of the values, ties included."""
    def statistic(x, y):
        return stats.rankdata(np.concatenate([x, y]))[: len(x)].sum()
    r = stats.permutation_test((a, b), statistic, permutation_type="independent", n_resamples=np.inf, alternative="two-sided")
    return {"a": a, "b": b, "p": float(r.pvalue)}


def changes(series, minimum):
    x = np.array(series)
    penalty = 3 * math.log(len(x)) * float((np.diff(x) ** 2).mean()) / 2
    found = ruptures.Pelt(model="l2", min_size=minimum, jump=1).fit(x).predict(pen=penalty)
    return {"series": series, "min_segment": minimum, "points": found[:-1]}


def mser5(series):
    """The cut, in values, with the least standard error over means of five, of those in the first half."""
    n = len(series) // 5
    batches = np.array(series[: 5 * n]).reshape(n, 5).mean(axis=1)
    errors = [batches[d:].var() / (n - d) for d in range(n // 2 + 1)]
    cut = int(np.argmin(errors))
    return {"series": series, "cut": 5 * cut, "ok": cut < n // 2}


rng = np.random.default_rng(7)
normal = lambda mean, n: [round(float(v), 2) for v in rng.normal(mean, 2, n)]
steps = normal(100, 40) + normal(110, 30) + normal(95, 50)
flat = normal(100, 80)
warm = [round(100 - 60 * 0.8**i + float(v), 2) for i, v in enumerate(rng.normal(0, 1, 90))]
slow = [round(100 - 60 * 0.97**i, 2) for i in range(60)]
many_a, many_b = [round(v, 1) for v in normal(10, 60)], [round(v, 1) for v in normal(11, 55)]

print(json.dumps({
    "t_quantile": [{"p": p, "df": df, "t": float(stats.t.ppf(p, df))} for p, df in
                   [(.975, 2), (.975, 3), (.975, 4), (.975, 5), (.975, 7), (.975, 9), (.8, 6), (.975, 2.5), (.025, 11.3), (.9, 1), (.975, 100)]],
    "t_two_sided": [{"t": t, "df": df, "p": float(2 * stats.t.sf(abs(t), df))} for t, df in
                    [(2.5, 6), (.3, 2), (4.1, 3.7), (-2.2, 15), (50, 4)]],
    "ratio": [ratio([100.1, 101.3, 99.2, 100.8], [110.2, 112.1, 108.9, 111.0], .95),
              ratio([412.1, 405.9, 418.3], [398.0, 401.5, 390.2, 395.5, 399.9], .95),
              ratio([412.1, 405.9, 418.3], [398.0, 401.5, 390.2, 395.5, 399.9], .99)],
    "rank_sum": [rank_sum([100.1, 101.3, 99.2, 100.8], [110.2, 112.1, 108.9, 111.0]), rank_sum([1.1, 2.3, 3.0, 7.2, 5.5], [2.0, 6.1, 8.4, 9.9, 7.7, 3.3]),
                 rank_sum([1, 2, 2, 3, 5], [2, 4, 5, 6]), rank_sum([1, 1, 1], [1, 1, 1])],
    "rank_sum_many": {"a": many_a, "b": many_b, "p": float(stats.mannwhitneyu(many_a, many_b, method="asymptotic").pvalue)},
    "rank_sum_least": [{"n": n, "p": float(stats.mannwhitneyu(range(n), range(50, 50 + n), method="exact").pvalue)} for n in (3, 4, 5, 6)],
    "holm": {"p": [.01, .04, .03, .005, .2], "adjusted": [float(v) for v in multipletests([.01, .04, .03, .005, .2], method="holm")[1]]},
    # smallest difference, in deviations, that n against n find with power 0.8 at 0.05
    "power": [{"n": n, "d": float(TTestIndPower().solve_power(nobs1=n, alpha=.05, power=.8))} for n in (4, 6, 10)],
    "changepoints": [changes(steps, 5), changes(flat, 5), changes(warm, 5)],
    "mser5": [mser5(flat), mser5(warm), mser5(slow)],
}))
