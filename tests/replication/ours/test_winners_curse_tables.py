"""The winner's curse in tables: means, paired differences, corrected p values, findings"""

import numpy as np
import pandas as pd
import pytest

from autogets.replication.ours import winners_curse_tables as h
from autogets.replication.ours.winners_curse import gaps
from autogets.stats import holm


def world(n, best, seed, validation=100, test=1000):
    "M0 and `n` candidates of accuracy .6, the last of them better by `best`: measured accuracies"
    rng, truth = np.random.default_rng(seed), np.full(n + 1, 0.6)
    truth[-1] += best
    return rng.binomial(validation, truth) / validation, rng.binomial(test, truth) / test, np.ones(n + 1)


def made_choices(lead, corpora=6, splits=8):
    "Rules of which 'rescored' is better than 'best' by `lead`, and 'reserved' equal to it but for noise"
    rng, rows = np.random.default_rng(1), []
    for b in range(corpora):
        for s in range(splits):
            level = rng.normal(0.05 * b, 0.02)
            gains = dict(
                best=level,
                rescored=level + lead + rng.normal(0, 0.004),
                reserved=level + rng.normal(0, 0.01) - 0.002,
                **{'full-pool': level - 0.01},
            )
            rows += [
                dict(
                    corpus=f'b{b}',
                    seed=s,
                    target='all',
                    strategy='random',
                    objective='accuracy',
                    rule=r,
                    gain=g,
                    promised=g,
                    texts=10,
                    chosen='',
                )
                for r, g in gains.items()
            ]
    return pd.DataFrame(rows)


def made_table():
    return h.honest_table(
        pd.DataFrame(
            [
                dict(corpus=b, seed=s, objective='accuracy') | g
                for b in 'ab'
                for s in range(5)
                for g in gaps(*world(50, 0, s), [1, 50])
            ]
        ),
        'accuracy',
    )


def test_a_better_rule_is_recommended():
    t = h.rules_table(made_choices(0.01), 'accuracy')
    rescored = t.set_index('rule').loc['rescored']
    assert h.recommended(t) == 'rescored' and rescored['difference low'] > 0 and rescored.p < 0.001
    assert abs(rescored.difference - 0.01) < 0.002 and rescored.better > 40


def test_without_a_better_rule_the_plain_one_stays_and_the_full_pool_is_never_a_rule_of_choice():
    c = made_choices(-0.01)
    c.loc[c.rule == 'full-pool', 'gain'] += 0.1
    t = h.rules_table(c, 'accuracy')
    assert t.rule[0] == 'full-pool' and h.recommended(t) == 'best'


def test_holm_on_a_known_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_p_values_of_the_rules_are_corrected():
    t = h.rules_table(made_choices(0.01), 'accuracy').set_index('rule')
    from scipy.stats import wilcoxon

    wide = made_choices(0.01).pivot(index=['corpus', 'seed'], columns='rule', values='gain')
    raw = [wilcoxon(wide.best - wide[r]).pvalue for r in ('rescored', 'reserved', 'full-pool')]
    assert t.p[['rescored', 'reserved', 'full-pool']].tolist() == pytest.approx(holm(raw))


def test_the_table_has_the_mean_of_corpora_and_each_of_them():
    t = made_table()
    assert set(t.corpus) == {'all', 'a', 'b'} and (t['gap low'] <= t.gap).all() and (t.gap <= t['gap high']).all()
    a = t.set_index(['corpus', 'evaluations']).published
    assert a['all', 50] == pytest.approx((a['a', 50] + a['b', 50]) / 2)
    g = t[t.corpus == 'all'].set_index('evaluations')
    assert g.growth[1] == 0 and g.growth[50] == pytest.approx(g.gap[50] - g.gap[1]) and g['growth low'][50] > 0


def test_findings_hold_the_numbers_of_the_tables():
    t, r = made_table(), h.rules_table(made_choices(0.01), 'accuracy')
    found = {f['claim']: f for f in h.honest_findings(t, r, 'accuracy')}
    last = t[t.corpus == 'all'].iloc[-1]
    gap = found['Best on test overstates the accuracy gain chosen on validation']
    assert (gap['estimate'], gap['low'], gap['high']) == (last.gap, last['gap low'], last['gap high'])
    rule = found['Out-of-fold rescoring beats best on validation in accuracy']
    assert rule['estimate'] == r.set_index('rule').difference['rescored']
