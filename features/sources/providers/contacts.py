"""Lists of contacts come in, as CRMs and newsletter tools export them; what each person agreed to goes out, as a profile event.

Columns are known by their names (COLUMNS and CONSENTS): Mailchimp's, Klaviyo's, HubSpot's, Salesforce's and Shopify's, and the
plain ones. A blank says nothing, and a word that is neither yes nor no rejects the row: nobody's answer is guessed. It counts
from the moment that the row names, or else from when the file was written; moments without an offset are in UTC.

https://mailchimp.com/help/view-export-contacts/ · https://help.klaviyo.com/hc/en-us/articles/115005075107 ·
https://knowledge.hubspot.com/import-and-export/export-records · https://help.shopify.com/en/manual/customers/import-export-customers
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from features.errors import InputError
from features.events.values import shorten
from features.formats.reading import Meaning, UnreadableError, digest, said, text
from features.sources.batch import SourceBatch
from features.sources.providers.outcomes import Outcome, to_batch
from features.sources.readers import ReadOptions, read_rows
from features.vocabulary import Channel, EventKind, IdType

OPTIONS: Final = ReadOptions(multiline=True)
"""Notes may go over several lines."""
CUSTOMER: Final = "customer_id"
MOMENT: Final = "occurred_at"
PROFILING: Final = "profiling"
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    IdType.EMAIL.value: ("email", "e_mail", "email_address", "contact_email", "mail"),
    IdType.PHONE.value: ("phone", "phone_number", "mobile", "mobile_phone", "mobile_phone_number", "telephone"),
    IdType.LOYALTY_CARD.value: ("loyalty_card", "loyalty_card_number", "loyalty_number", "card_number", "club_card"),
    CUSTOMER: (
        "customer_id", "customer_number", "customer", "contact_id", "member_id", "subscriber_id", "user_id", "external_id",
        "person_id", "profile_id", "klaviyo_id", "record_id",
    ),
    MOMENT: (
        "unsub_time", "consent_at", "consent_timestamp", "email_marketing_consent_timestamp", "changed", "changed_at",
        "updated_at", "updated", "last_changed", "modified_at", "last_modified", "last_modified_date", "confirm_time",
        "optin_time", "created_at", "created", "create_date", "date_added", "profile_created_on",
    ),
}  # fmt: skip
"""What we take -> names of columns in small letters with _ between their words, the first that the file has."""
CONSENTS: Final[Mapping[str, tuple[str, ...]]] = {
    PROFILING: ("profiling", "profile", "personalisation", "personalization"),
    Channel.CHAT.value: ("whatsapp", "whats", "chat"),
    Channel.PUSH.value: ("push",),
    Channel.APP.value: ("app",),
    Channel.SMS.value: ("sms", "text", "mobile"),
    Channel.POST.value: ("post", "postal", "letter", "catalogue", "catalog"),
    Channel.CALL_CENTER.value: ("phone", "call", "calls", "telephone"),
    Channel.ADS.value: ("ads", "ad", "advertising"),
    Channel.SOCIAL.value: ("social",),
    Channel.STORE.value: ("store",),
    Channel.WEB.value: ("web",),
    Channel.EMAIL.value: ("email", "mail", "newsletter", "marketing", "mailing"),
}
"""What a consent is to -> words of the column's name that say so, in the order in which they are looked for."""
YES: Final = frozenset(
    """
    yes y true t 1 1_0 x on ja oui si subscribed opted_in opt_in optin confirmed granted active explicit implicit
    """.split()  # noqa: SIM905 - a list of words is no better to read
)
NO: Final = frozenset(
    """
    no n false f 0 0_0 off nein non unsubscribed opted_out opt_out optout denied withdrawn never_subscribed not_subscribed
    non_subscribed nonsubscribed pending unconfirmed bounced cleaned junk suppressed inactive
    """.split()  # noqa: SIM905
)
NOTHING: Final = frozenset(["", "null", "none", "n_a", "na", "nan", "unknown"])
_asks = re.compile(
    r"^(accepts?|allows?|opt_?in|opted_in|subscribed|consents?|agrees|may|permission|newsletter|profiling)(_|$)"
    r"|(^|_)(consent|opt_?in|opted_in|subscribed|permission|allowed|(subscriber|subscription|member|marketing|email)_status)$"
    r"|^status$"
)
_refuses = re.compile(r"(^|_)(unsubscribed|opt_?out|opted_out|optedout|do_not|donot|blacklisted)(_|$)|optedout")
_refused_where_filled = re.compile(
    r"(^|_)(unsubscribed?|unsub|opt_?out|opted_out|optedout)_(at|on|date|time|timestamp)$|(^|_)suppress(ed|ions?)(_|$)"
)
_ASKED_OF_ALL: Final = frozenset(
    """
    accepts accept allows opt in out optin optout opted subscribed unsubscribed consent consents agrees may permission
    subscriber subscription member status from all to communications promotions promotional
    """.split()  # noqa: SIM905
)
"""Words of a name that says of nothing in particular what is agreed to: then it is e-mail, which such lists are for."""
_SINCE: Final = frozenset(
    ("at", "on", "date", "time", "timestamp", "unsubscribe", "unsub", "suppressed", "suppression", "suppressions")
)
"""Words of such a name beside them where a refusal is dated or explained."""
_beside = re.compile(r"_(timestamp|at|date|time|source|method|ip|level|country|reason|campaign)$")
_words = re.compile(r"[^a-z0-9]+")
_capitals = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_MAILCHIMP: Final = frozenset({"leid", "euid"})


@dataclass(frozen=True)
class Consent:
    """A column that says what somebody agreed to; with `refuses`, a yes in it takes consent back, and a no says nothing."""

    column: str
    to: str
    refuses: bool = False
    filled: bool = False
    """Whether whatever stands in it is a yes: the moment since when, or the reasons why."""


@dataclass(frozen=True)
class Plan:
    """What the columns of a file mean. `all_say` is what being on the list says of e-mail, None where it says nothing."""

    columns: Mapping[str, str]
    consents: tuple[Consent, ...]
    all_say: bool | None = None
    skipped: str | None = None
    """Why nobody on the list is one to be written to, where that is what the list is of."""


def load(path: str | None, sample: float | None) -> Iterator[SourceBatch]:
    """Batches of the lists at `path`. Raises InputError for a file that names nobody."""
    place = path or ""
    written_at = _written_at(place)
    for raw in read_rows(place, OPTIONS):
        plan = plan_of(raw.names)
        if not set(plan.columns) - {MOMENT}:
            raise InputError(
                f"{place} has no column that says who somebody is; it has {raw.names}.",
                repair="Name one email, phone, customer_id or loyalty_card, or bring the file with --mapping.",
            )
        read = partial(read_contact, plan=plan, written_at=written_at)
        outcomes = [Outcome.of([row], read) for row in raw.objects()]
        yield to_batch(raw, outcomes, sample)


def plan_of(names: Sequence[str]) -> Plan:
    """What columns with these names mean."""
    known = {plain_name(name): name for name in reversed(names)}
    columns = {
        ours: next(known[theirs] for theirs in candidates if theirs in known)
        for ours, candidates in COLUMNS.items()
        if any(theirs in known for theirs in candidates)
    }
    taken = set(columns.values())
    consents = tuple(consent for name in names if name not in taken and (consent := _consent(name)) is not None)
    if set(known) >= _MAILCHIMP and not consents:  # of Mailchimp's three files each holds one kind of member
        if "clean_time" in known:
            return Plan(columns, (), skipped="cleaned")
        return Plan(columns, (), all_say="unsub_time" not in known)
    return Plan(columns, consents)


def read_contact(row: Mapping[str, Any], plan: Plan, written_at: datetime) -> Meaning:
    """The profile event of one person. Raises UnreadableError for a word that is no answer, and for no moment."""
    if plan.skipped is not None:
        return Meaning(skipped=plan.skipped)
    who = {ours: text(_bare(row.get(column)), column) for ours, column in plan.columns.items() if ours != MOMENT}
    answers = _answers(row, plan)
    profiling = answers.pop(PROFILING, None)
    fields = said(
        occurred_at=_moment(row, plan, written_at),
        kind=EventKind.PROFILE.value,
        channel=Channel.WEB.value,
        customer_id=who.pop(CUSTOMER, None),
        identifiers=said(**who),
        properties=said(consent=answers, profiling=profiling),
    )
    # an answer that is given again later is another event: what was taken back in between counts no more
    return Meaning(({**fields, "event_id": f"contact:{digest(fields)}"},))


def plain_name(name: str) -> str:
    """A column's name in small letters, its words joined by _."""
    return _words.sub("_", _capitals.sub(" ", name).lower()).strip("_")


def _consent(name: str) -> Consent | None:
    plain = plain_name(name)
    filled = _refused_where_filled.search(plain) is not None
    refuses = filled or _refuses.search(plain) is not None
    if not filled and (_beside.search(plain) or not (refuses or _asks.search(plain))):
        return None
    words = set(plain.split("_")) | ({"email"} if "email" in plain else set())
    to = next((ours for ours, theirs in CONSENTS.items() if words & set(theirs)), None)
    if to is None and words <= _ASKED_OF_ALL | _SINCE:
        to = Channel.EMAIL.value
    return None if to is None else Consent(name, to, refuses, filled)  # who accepts terms has agreed to no message


def _answers(row: Mapping[str, Any], plan: Plan) -> dict[str, bool]:
    """What somebody agreed to; of several columns about the same a no counts."""
    answers = {} if plan.all_say is None else {Channel.EMAIL.value: plan.all_say}
    for consent in plan.consents:
        answer = _answer(row.get(consent.column), consent)
        if answer is not None:
            answers[consent.to] = answer and answers.get(consent.to, True)
    return answers


def _answer(value: Any, consent: Consent) -> bool | None:
    word = _words.sub("_", str("" if value is None else value).lower()).strip("_")
    if word in NOTHING:
        return None
    if consent.filled:
        return None if word in NO else False
    if word not in YES and word not in NO:
        reason = (
            f"is {shorten(value)}, which is neither a yes nor a no: say in a mapping, under [consent], what it means."
        )
        raise UnreadableError(consent.column, reason)
    is_yes = word in YES
    if consent.refuses:
        return False if is_yes else None
    return is_yes


def _moment(row: Mapping[str, Any], plan: Plan, written_at: datetime) -> datetime:
    column = plan.columns.get(MOMENT)
    value = None if column is None else row.get(column)
    if value is None or value == "":
        return written_at
    read = value
    if not isinstance(read, datetime):
        try:
            read = datetime.fromisoformat(str(value).strip())
        except ValueError as error:
            reason = (
                f"is {shorten(value)}, which is no ISO 8601 moment: bring the file with --mapping and its time_format."
            )
            raise UnreadableError(str(column), reason) from error
    return read if read.tzinfo is not None else read.replace(tzinfo=UTC)


def _bare(value: Any) -> Any:
    """A value without the apostrophe that keeps a spreadsheet from counting with it."""
    return value.strip().lstrip("'") if isinstance(value, str) else value


def _written_at(place: str) -> datetime:
    """When the newest file of a place was written."""
    path = Path(place)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else []
    newest = max((file.stat().st_mtime for file in files), default=None)
    return datetime.now(UTC) if newest is None else datetime.fromtimestamp(newest, UTC)
