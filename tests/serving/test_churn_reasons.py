"""Reasons say what a marketer would: in words, with direction and size, twins among the signals as one."""

import numpy as np

from features.signals import SIGNAL_NAMES
from serving.churn_reasons import _place, churn_reasons


def shares(**values: float) -> np.ndarray:
    out = np.zeros(len(SIGNAL_NAMES))
    for name, value in values.items():
        out[SIGNAL_NAMES.index(name)] = value
    return out


def signals(**values: float) -> np.ndarray:
    out = np.full(len(SIGNAL_NAMES), np.nan, dtype=np.float32)
    for name, value in {"purchases_store_90d": 3.0, "purchases_web_90d": 0.1, **values}.items():
        out[SIGNAL_NAMES.index(name)] = value
    return np.where(
        [name.startswith("purchases_") & np.isnan(v) for name, v in zip(SIGNAL_NAMES, out, strict=True)], 0, out
    )


def test_a_missed_visit_is_said_in_words_with_its_size() -> None:
    known = signals(days_since_occasion=41.0, gap_mean_days=9.0)
    found = churn_reasons(shares(overdue_ratio=0.5, days_since_occasion=0.5), known, log_odds=0.0)
    assert [reason.text for reason in found] == [
        "no store visit for 41 days (usually every 9 days): raises the risk by 23 points"
    ]
    assert found[0].effect == 1.0
    fine = churn_reasons(shares(overdue_ratio=-0.5), signals(days_since_occasion=2.0, gap_mean_days=9.0), log_odds=0.0)
    assert fine[0].text.startswith("last store visit 2 days ago (usually every 9 days): lowers the risk by 12 points")


def test_twins_add_up_and_opposites_cancel() -> None:
    known = signals(n_occasions=12.0, occasions_30d=3.0, spend_30d=80.0)
    found = churn_reasons(
        shares(occasions_30d=-0.4, purchase_30d=-0.3, n_occasions=0.1, spend_30d=0.5), known, log_odds=-2.0
    )
    assert [round(reason.effect, 2) for reason in found] == [-0.6, 0.5]
    assert found[0].text.startswith("buys about 2.1 times a month lately, 12 times in all: lowers the risk by")
    assert found[1].text.startswith("spends about 55.5 a month lately: raises the risk by")


def test_what_never_happened_has_words_too() -> None:
    found = churn_reasons(shares(days_since_occasion=1.0, days_since_contact_email=-0.5), signals(), log_odds=1.0)
    assert [reason.text.split(":")[0] for reason in found] == ["never bought", "no messages by e-mail"]
    assert found[0].value is None


def test_every_signal_has_a_topic_and_purchases_share_one() -> None:
    assert _place("purchase_7d").name == _place("occasions_365d").name == "frequency"
    assert _place("unanswered_email").name == _place("sends_email_30d").name != _place("sends_sms_30d").name
    assert len({_place(name).name for name in SIGNAL_NAMES}) < 80
