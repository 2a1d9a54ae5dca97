"""A low-resource setting: its parts share no text, synthetic texts come balanced and in order"""

import pandas as pd
import pytest

from autogets.core import UserError
from autogets.replication.mixing import settings as d


def test_parts_share_no_text_and_no_source(s):
    parts = [set(getattr(s, k).id) for k in ('human', 'validation', 'test', 'pool', 'extra_real')]
    assert all(not a & b for i, a in enumerate(parts) for b in parts[:i]) and all(parts)
    assert not set(s.pool.lead) & {*s.validation.id, *s.test.id}
    assert set(s.pool.lead[s.pool.own]) <= set(s.human.id) and s.pool.own.any()
    assert not set(s.pool.lead[~s.pool.own]) & set(s.human.id)
    assert len(s.human) == len(s.validation) == 20 and s.human.label.nunique() == 2
    assert (pd.concat([s.human, s.validation, s.extra_real]).label == s.positive).mean() < 0.5


def test_a_seed_draws_the_real_texts(s):
    same, other = d.draw_setting('tickets', 20, 20, seed=1), d.draw_setting('tickets', 20, 20, seed=2)
    assert same.human.equals(s.human) and same.pool.equals(s.pool)
    assert set(other.human.id) != set(s.human.id) and other.test.equals(s.test)


def test_a_synthetic_text_keeps_the_class_of_its_source(s):
    label = dict(zip(s.human.id, s.human.label)) | dict(zip(s.extra_real.id, s.extra_real.label))
    assert len(s.pool) and all(label[r.lead] == r.label for r in s.pool.itertuples())


def test_proportions_are_kept():
    rows = pd.DataFrame({'id': range(100), 'label': ['a'] * 70 + ['b'] * 30})
    assert d.draw_in_proportion(rows, 10, 0).label.value_counts().to_dict() == {'a': 7, 'b': 3}
    assert len(d.draw_in_proportion(rows, 500, 0)) == 100


def test_a_dataset_of_many_classes_is_refused(monkeypatch):  # the fifteen topics of the tickets, without their pair
    monkeypatch.setattr(d, 'CLASS_PAIRS', {})
    d._frames.cache_clear()
    with pytest.raises(UserError, match='15 classes'):
        d.draw_setting('tickets', 20, 20)


def test_synthetic_texts_are_balanced_own_first_each_once(s):
    few, all_of_them = d.balanced_order(s.pool, 60, 0), d.balanced_order(s.pool, 10**6, 0)
    assert set(few.label.value_counts()) == {30} and not few.id.duplicated().any()
    first = 2 * s.pool[s.pool.own].label.value_counts().min()
    assert few.own.iloc[:first].all() and not few.own.all()
    assert set(all_of_them.label.value_counts()) == {s.pool.label.value_counts().min()}
    assert not few.id.equals(d.balanced_order(s.pool, 60, 1).id) and len(d.balanced_order(s.pool, 7, 0)) == 7


def test_published_facts_are_tagged():
    t = d.mixing_facts()
    assert t.finding.is_unique and set(t.tag) == {'seen', 'seen in part', 'not found', 'unreliable'}
    assert t[['statement', 'tag']].notna().all(axis=None) and t.published[t.tag == 'not found'].isna().all()
    assert d.mixing_facts('best-share').published.item() == 0.8
    assert d.mixing_facts('step', 'last-step').published.tolist() == [25, 250]
