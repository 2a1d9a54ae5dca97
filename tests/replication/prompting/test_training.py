"""What a cell trains on, how sure a contrast is, and when a claim holds"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from autogets.classifiers.linear import make_classifier
from autogets.core import UserError
from autogets.metrics import bootstrap_scores, confusion, scores
from autogets.replication.prompting.methods import methods_cells
from autogets.replication.prompting.tasks import match_methods
from autogets.replication.prompting import training
from autogets.replication.prompting.training import (
    FAILS,
    HOLDS,
    INCONCLUSIVE,
    TaskClaim,
    TrainingPlan,
    contrast,
    run_cells,
    training_rows,
)
from autogets.replication.prompting.volume import volume_cells


# --- draws ---
def test_draws_are_even_nested_and_by_seed(case):
    small, large, other = (training_rows(case, 'topic', n, 0, s)[0] for n, s in ((15, 0), (30, 0), (15, 1)))
    assert set(small.label.value_counts()) == {5} and set(large.label.value_counts()) == {10}
    assert set(small.text) < set(large.text) and set(small.text) != set(other.text)


def test_further_real_rows_are_nested_and_the_few_stay(case):
    a, b = (training_rows(case, '', 0, n, 4)[0] for n in (40, 80))
    assert set(case.real.text) < set(a.text) < set(b.text) and len(a) == 40
    assert training_rows(case, '', 0, 10**6, 4)[1:] == (len(case.real) + len(case.more), 0, 1.0)


def test_share_is_that_of_the_scarcest_class(case):
    scarce = replace(
        case,
        texts=case.texts.drop(case.texts.index[(case.texts.prompt_method == 'topic') & (case.texts.label == 'a')][:12]),
    )
    rows, _, new, share = training_rows(scarce, 'topic', 30, 0, 0)
    assert share == 1 and new == 28 and rows.label.value_counts()['a'] == 8


def test_words_for_prompt_methods(case):
    assert match_methods(case, 'few-shot') == ['few-shot-3', 'few-shot-5']
    assert match_methods(case, 'topic') == ['topic']
    assert len(match_methods(case)) == 5
    assert len(training_rows(case, 'all', 240, 0, 0)[0]) == 240
    with pytest.raises(UserError, match='unknown prompt method'):
        match_methods(case, 'chain-of-thought')


# --- cells ---
def test_cells_are_kept_and_resume(case, tmp_path, monkeypatch):
    plan, wanted = TrainingPlan(seeds=(0, 1), folder=tmp_path), [('', 0, 18), ('topic', 15, 18), ('topic', 30, 18)]
    first = run_cells(case, wanted, plan)
    for p in sorted(tmp_path.iterdir())[:2]:
        p.unlink()
    count, real = [], training.make_classifier
    monkeypatch.setattr(training, 'make_classifier', lambda *a, **k: count.append(1) or real(*a, **k))
    again = run_cells(case, wanted, plan)
    assert len(count) == 2
    assert again.score.tolist() == first.score.tolist()
    assert np.array_equal(np.stack(again.resampled), np.stack(first.resampled))


def test_two_processes_give_the_same(case):
    wanted = [('', 0, 18), ('topic', 30, 0)]
    one, two = (run_cells(case, wanted, TrainingPlan(seeds=(0, 1), workers=n)) for n in (1, 2))
    assert one.score.tolist() == two.score.tolist()


def test_scores_are_those_of_the_classifier(case):
    cell = run_cells(case, [('topic', 30, 18)], TrainingPlan(seeds=(3, 4))).iloc[0]
    rows = training_rows(case, 'topic', 30, 18, 3)[0]
    predicted = make_classifier('linear', 3).fit(list(rows.text), list(rows.label)).predict(list(case.test.text))
    assert cell.score == pytest.approx(
        scores(confusion(list(case.test.label), list(predicted), case.classes))['macro-f1']
    )


def test_one_class_alone_is_no_error(case):
    alone = replace(case, texts=case.texts[case.texts.label == 'a'])
    assert run_cells(alone, [('topic', 15, 0)], TrainingPlan(seeds=(0, 1))).score.tolist() == pytest.approx(
        [0.5 / 3] * 2
    )


@pytest.mark.parametrize(
    'how, said',
    [
        (dict(classifiers=('forest',)), 'unknown classifier'),
        (dict(seeds=(1,)), 'two or more'),
        (dict(objective='beauty'), 'unknown objective'),
    ],
)
def test_plans_that_cannot_be(how, said):
    with pytest.raises(UserError, match=said):
        TrainingPlan(**how)


def test_numbers_must_match_tasks(case):
    with pytest.raises(UserError, match='give one for each'):
        methods_cells([case], [1, 2], 100, TrainingPlan())
    with pytest.raises(UserError, match='give one for each'):
        volume_cells([case], [], [10], TrainingPlan())


# --- errors of figures ---
def made_cells(values, share=0.0, resampled=0.0, n=400):
    rng = np.random.default_rng(0)
    noise = rng.normal(0, resampled, n) if resampled else np.zeros(n)
    return pd.DataFrame([dict(seed=s, share=share, score=v, resampled=v + noise) for s, v in enumerate(values)])


def test_the_error_grows_with_the_overlap_of_draws():
    apart, near = (contrast(made_cells([0.1, 0.2, 0.3, 0.4], share), [1] * 4) for share in (0.0, 0.8))
    v = np.var([0.1, 0.2, 0.3, 0.4], ddof=1)
    assert apart['error'] == pytest.approx(np.sqrt(v / 4))
    assert near['error'] == pytest.approx(np.sqrt(v * (1 / 4 + 4)))
    assert apart['df'] == pytest.approx(3)


def test_errors_of_test_rows_do_not_shrink_with_seeds():
    few, many = (contrast(made_cells([0.5] * n, resampled=0.02), [1] * n) for n in (2, 50))
    assert few['error'] == pytest.approx(many['error']) == pytest.approx(0.02, rel=0.15)


def test_what_both_sides_share_cancels():
    both = pd.concat([made_cells([0.5, 0.5], resampled=0.1), made_cells([0.6, 0.6], resampled=0.1)])
    found = contrast(both, [-1, -1, 1, 1])
    assert found['estimate'] == pytest.approx(0.1) and found['error'] < 1e-9


def test_resamples_follow_the_binomial():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 300)
    found = bootstrap_scores(truth, np.where(rng.random(300) < 0.8, truth, 1 - truth), 2, 'accuracy', 500)
    assert found[1:].std() == pytest.approx(np.sqrt(found[0] * (1 - found[0]) / 300), rel=0.15)


# --- verdicts ---
def claim(rows, **how):
    return TaskClaim(rows, above=0, **how).verdict


def value(x, e=0.01, task='t'):
    return dict(task=task, estimate=x, error=e, df=1e6, low=x - 1.96 * e, high=x + 1.96 * e)


@pytest.mark.parametrize(
    'values, bound, above, verdict',
    [
        ([0.05, 0.06], 0.0, True, HOLDS),
        ([0.05, 0.01], 0.0, True, INCONCLUSIVE),
        ([0.05, -0.05], 0.0, True, FAILS),
        ([-0.05], 0.0, False, HOLDS),
        ([0.05], 0.1, True, FAILS),
        ([], 0.0, True, INCONCLUSIVE),
        ([np.nan, 0.05], 0.0, True, HOLDS),
    ],
)
def test_a_claim_about_every_task(values, bound, above, verdict):
    bounds = dict(above=bound) if above else dict(below=bound)
    assert TaskClaim([value(x) for x in values], **bounds).verdict == verdict


def test_against_a_claim_the_number_of_tasks_counts():
    low = value(-0.021)
    assert claim([low]) == FAILS and claim([low, *[value(0.0)] * 9]) == INCONCLUSIVE


def test_without_error_the_sign_decides():
    assert claim([value(0.1, 0.0)]) == HOLDS and claim([value(-0.1, 0.0)]) == FAILS


@pytest.mark.parametrize(
    'values, verdict',
    [([0.1, 0.2], HOLDS), ([0.1, 0.04], INCONCLUSIVE), ([0.1, -0.1], FAILS), ([0.4, 0.1], FAILS), ([], INCONCLUSIVE)],
)
def test_a_range(values, verdict):
    assert TaskClaim([value(x) for x in values], 0.03, 0.26).verdict == verdict


@pytest.mark.parametrize(
    'values, verdict',
    [
        ([0.1, 0.0], HOLDS),
        ([0.1, -0.1], FAILS),
        ([0.0, 0.0], INCONCLUSIVE),
        ([0.1, 0.0, 0.0], INCONCLUSIVE),
        ([0.1, 0.1, 0.0, -0.1], INCONCLUSIVE),
    ],
)
def test_often(values, verdict):
    assert claim([value(x) for x in values], rule='often') == verdict


@pytest.mark.parametrize(
    'values, verdict', [([0.1, 0.2], FAILS), ([0.1, -0.1], HOLDS), ([0.1, 0.005], INCONCLUSIVE), ([], INCONCLUSIVE)]
)
def test_not_every(values, verdict):
    assert claim([value(x) for x in values], rule='not every', margin=0.01) == verdict


def test_the_deciding_task_supports_the_claim_least():
    rows = [value(0.05, task='a'), value(0.01, task='b'), value(0.2, task='c')]
    assert TaskClaim(rows, above=0).deciding['task'] == 'b' and TaskClaim(rows, below=0.1).deciding['task'] == 'c'
    assert TaskClaim(rows, above=0, rule='not every', margin=0.01).deciding['task'] == 'b'
    assert TaskClaim([], above=0).deciding == {}
