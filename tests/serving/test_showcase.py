"""The demo's words: the service's own examples as a marketer reads them, and the curl line that gets them."""

import json
import shlex

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import MissingError
from serving import schemas, showcase
from serving.showcase import curl_line, in_words, pick_customers, replay_start, show_mix


def example(kind):
    return kind.model_config["json_schema_extra"]["examples"][0]


def test_products_in_words():
    (line,) = in_words("next-products", example(schemas.NextProductsAnswer))

    assert line == "BANANAS (TROPICAL FRUIT): bought 23 times, bought about every 12 days, last bought 13 days ago: due"


def test_churn_in_words():
    lines = in_words("churn", example(schemas.ChurnAnswer))

    assert lines == [
        "7.1% likely to buy nothing in the next 28 days",
        "  because no store visit for 41 days (usually every 9 days): raises the risk by 12 points",
        "  lapsing: contact (a contact changes the chance of a return by +3.4 points)",
    ]
    alone = {**example(schemas.ChurnAnswer), "win_back": {"uplift": None, "advice": "leave alone"}}
    assert in_words("churn", alone) == lines[:2]
    prospect = {**alone, "customer_status": "prospect", "churn_probability": None, "reasons": []}
    assert in_words("churn", prospect) == ["a prospect, who never bought"]
    assert in_words("churn", {**prospect, "kind": "contract"}) == ["no contract that could end"]


def test_channels_in_words_are_ordered_by_worth():
    lines = in_words("best-channel", example(schemas.BestChannelAnswer))

    assert lines == ["post_a: answers with 21.0%, worth +1.50  ← best", "nothing, worth +0.00"]


def test_a_decision_in_words():
    answer = example(schemas.DecisionAnswer)

    sent = in_words("decide", answer)
    silent = in_words("decide", {**answer, "action": "nothing", "product": None, "reasons": ["cap reached"]})

    assert sent[0].startswith("send BANANAS: bought 23 times, as post_a over post, at 2018-01-01T17:00:00Z")
    assert silent == ["send nothing (chosen with probability 0.63)", "  cap reached"]


def test_the_curl_line_survives_the_shell():
    words = shlex.split(curl_line("http://127.0.0.1:3000", "churn", {"customer_id": 'it\'s "1"'}))

    assert words[2] == "http://127.0.0.1:3000/v1/churn"
    assert json.loads(words[-1]) == {"customer_id": 'it\'s "1"'}


def test_three_customers_are_picked_by_the_stated_rules(settings):
    second = 1_000_000
    day = 86_400 * second
    rows = [
        *(("regular", "purchase", day * (400 + n), f"r{n}") for n in range(10)),
        *(("silent", "purchase", day * n, f"s{n}") for n in range(20)),
        *(("mail", "outcome", day * (100 + n), None) for n in range(3)),
        ("rare", "purchase", 0, "x"),
    ]
    write_timeline(settings, rows)

    assert [customer_id for customer_id, _ in pick_customers(settings)] == ["regular", "silent", "mail"]
    assert replay_start(settings).timestamp() == 409 * 86_400 + 1


def test_one_customer_is_shown_once(settings):
    write_timeline(settings, [("only", "purchase", 0, "a"), ("only", "outcome", 1, None)])

    assert len(pick_customers(settings)) == 1


def test_many_are_decided_for_once_and_one_of_each_channel_is_shown(settings, monkeypatch):
    ways = {"ann": "email", "bob": "nothing", "cem": "email", "dia": "push"}
    write_timeline(settings, [(name, "visit", 10 - place, name) for place, name in enumerate(ways)])
    asked = []

    def answer(_http, question, body):
        asked.append((question, body["customer_id"]))
        way = ways[body["customer_id"]]
        more = {"action": way} if way == "nothing" else {"channel": way}
        return {**example(schemas.DecisionAnswer), **more} if question == "decide" else {"asked": question}

    monkeypatch.setattr(showcase, "_ask", answer)
    mix = show_mix(settings, "http://127.0.0.1:3000")

    assert (mix.asked, mix.channels) == (4, {"email": 2, "nothing": 1, "push": 1})
    assert [shown.customer_id for shown in mix.customers] == ["ann", "dia"]
    assert mix.customers[1].answers["decide"]["channel"] == "push"
    assert list(mix.customers[1].answers) == ["next-products", "churn", "best-channel", "decide"]
    assert mix.customers[1].curl["decide"].endswith('"customer_id": "dia", "asked_by": "web"}\'')
    assert [name for question, name in asked if question == "decide"] == list(ways)


def test_without_a_timeline_the_repair_is_named(settings):
    with pytest.raises(MissingError, match="omni features build"):
        pick_customers(settings)


def write_timeline(settings, rows):
    customer_id, kind, micros, session_id = zip(*rows, strict=True)
    settings.timeline_path.parent.mkdir(parents=True)
    table = {
        "customer_id": pa.array(customer_id),
        "kind": pa.array(kind),
        "occurred_at": pa.array(micros, pa.timestamp("us", "UTC")),
        "session_id": pa.array(session_id, pa.string()),
    }
    pq.write_table(pa.table(table), settings.timeline_path)
