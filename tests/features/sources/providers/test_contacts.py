"""Lists of contacts: who somebody is by the names of columns, and what they agreed to by words that are a yes or a no."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from features.errors import InputError
from features.sources.batch import SourceBatch
from features.sources.providers import contacts

WRITTEN_S = 1_738_576_800


def load(tmp_path: Path, text: str, name: str = "list.csv") -> SourceBatch:
    file = tmp_path / name
    file.write_text(text)
    os.utime(file, (WRITTEN_S, WRITTEN_S))
    (batch,) = contacts.load(str(file), None)
    return batch


def first(batch: SourceBatch) -> dict[str, Any]:
    return dict(batch.events.to_pylist()[0])


def test_a_row_is_a_person_and_what_they_agreed_to(tmp_path: Path) -> None:
    header = "customer_id,email,phone,email_consent,accepts_sms,opt_in_push,profiling,updated_at"
    text = f"{header}\n7,a@example.org,'+49 1,Yes,0,,no,2025-01-01 08:00\n"
    event = first(load(tmp_path, text))
    assert (event["kind"], event["customer_id"]) == ("profile", "7")
    assert dict(event["identifiers"]) == {"email": "a@example.org", "phone": "+49 1"}
    assert event["properties"] == '{"consent": {"email": true, "sms": false}, "profiling": false}'
    assert event["occurred_at"] == datetime(2025, 1, 1, 8, tzinfo=UTC)


def test_a_word_that_is_no_answer_rejects_its_row(tmp_path: Path) -> None:
    batch = load(tmp_path, "email,accepts_email\na@example.org,maybe\nb@example.org,\n")
    assert batch.rejected is not None
    assert batch.rejected["field"].to_pylist() == ["accepts_email"]
    assert [event["properties"] for event in batch.events.to_pylist()] == [None]


def test_without_a_moment_it_counts_from_when_the_file_was_written(tmp_path: Path) -> None:
    text = "email,accepts_marketing\na@example.org,no\n"
    event, again = first(load(tmp_path, text)), first(load(tmp_path, text))
    assert event["occurred_at"] == datetime.fromtimestamp(WRITTEN_S, UTC)
    assert event["event_id"] == again["event_id"]


@pytest.mark.parametrize(
    ("text", "consent"),
    [
        ("Email,First Name,Email Marketing Consent,SMS Marketing Consent\na@example.org,A,SUBSCRIBED,NEVER_SUBSCRIBED\n",
         '{"consent": {"email": true, "sms": false}}'),
        ("Record ID,Email,Unsubscribed from all email\n9,a@example.org,true\n", '{"consent": {"email": false}}'),
        ("Record ID,Email,Unsubscribed from all email\n9,a@example.org,false\n", None),
        ("email,accepts_email,email_unsubscribed_at\na@example.org,yes,2025-01-01 09:00\n",
         '{"consent": {"email": false}}'),
        ("email,accepts_email,email_unsubscribed_at\na@example.org,yes,\n", '{"consent": {"email": true}}'),
        ('Email,Email Marketing Consent,Email Suppressions\na@example.org,SUBSCRIBED,"[""UNSUBSCRIBE""]"\n',
         '{"consent": {"email": false}}'),
        ("Email,Email Marketing Consent,Email Suppressions\na@example.org,SUBSCRIBED,[]\n",
         '{"consent": {"email": true}}'),
        ("email,sms_opted_out_on\na@example.org,2025-01-01\n", '{"consent": {"sms": false}}'),
        ("email,unsubscribe_date\na@example.org,2025-01-01\n", '{"consent": {"email": false}}'),
        ("email,accepts_email\na@example.org,1.0\n", '{"consent": {"email": true}}'),
        ("Email,HasOptedOutOfEmail\na@example.org,1\n", '{"consent": {"email": false}}'),
        ("Customer ID,Email,Accepts Email Marketing,Accepts SMS Marketing\n9,a@example.org,yes,no\n",
         '{"consent": {"email": true, "sms": false}}'),
        ("Email Address,MEMBER_RATING,OPTIN_TIME,LAST_CHANGED,LEID,EUID\na@example.org,2,2025-01-01,2025-01-02,1,x\n",
         '{"consent": {"email": true}}'),
        ("Email Address,LAST_CHANGED,LEID,EUID,UNSUB_TIME,UNSUB_REASON\na@example.org,2025-01-02,1,x,2025-01-03,N\n",
         '{"consent": {"email": false}}'),
        ("email,status\na@example.org,unsubscribed\n", '{"consent": {"email": false}}'),
        ("email,accepts_terms,cookie_consent,opt_in\na@example.org,yes,yes,no\n", '{"consent": {"email": false}}'),
        ("email,ads_consent,opt_in_app\na@example.org,yes,no\n", '{"consent": {"ads": true, "app": false}}'),
        ("email,WhatsApp consent,may_post\na@example.org,ja,nein\n", '{"consent": {"chat": true, "post": false}}'),
    ],
)  # fmt: skip
def test_lists_of_common_tools_are_read_by_their_columns(tmp_path: Path, text: str, consent: str | None) -> None:
    event = first(load(tmp_path, text))
    assert event["properties"] == consent
    assert dict(event["identifiers"]) == {"email": "a@example.org"}


def test_addresses_that_bounced_are_counted(tmp_path: Path) -> None:
    batch = load(tmp_path, "Email Address,LEID,EUID,CLEAN_TIME\na@example.org,1,x,2025-01-03\n")
    assert (batch.events.num_rows, dict(batch.skipped)) == (0, {"cleaned": 1})


def test_a_list_of_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="who"):
        load(tmp_path, "colour,accepts_email\nred,yes\n")
