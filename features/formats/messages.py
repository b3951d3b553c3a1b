"""What messaging tools tell of their messages comes in, one object each; events go out. Pure.

One table (PROVIDERS) says of each tool what its words mean, and where time, address, campaign and id lie. Which tool it is, is
told by the keys of the object. Bounces and the like are counted under the tool's own word; an unsubscribe and a report of
spam take consent back; what a program opened or clicked is kept out under the words `machine_open` and `bot_click`.

SendGrid: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
Mailgun: https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads
Postmark: https://postmarkapp.com/developer/webhooks/webhooks-overview
Amazon SES: https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
Braze Currents: https://www.braze.com/docs/user_guide/data/distribution/braze_currents/event_glossary/message_engagement_events
Iterable: https://support.iterable.com/hc/en-us/articles/208013936-System-Webhooks
Customer.io: https://docs.customer.io/integrations/data-out/connections/webhooks/
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from features.events.values import shorten
from features.formats.reading import (
    BOT_CLICK,
    MACHINE_OPEN,
    YES,
    Fields,
    Meaning,
    Record,
    UnreadableError,
    at,
    digest,
    epoch,
    first,
    moment,
    said,
    text,
    yes,
)
from features.formats.words_of_messages import (
    BRAZE_WORDS,
    CUSTOMER_IO_CHANNELS,
    CUSTOMER_IO_WORDS,
    ITERABLE_WORDS,
    MAILGUN_WORDS,
    POSTMARK_WORDS,
    SENDGRID_WORDS,
    SES_WORDS,
    Word,
)
from features.vocabulary import Channel, EventKind, IdType

ANY: Final = frozenset[str]()
EVENT_TYPE: Final = "event_type"
"""The key under which Braze says what happened; in its files the folder or the schema says it."""
CONFIRMATIONS: Final = ("SubscriptionConfirmation", "UnsubscribeConfirmation")
"""What Amazon SNS sends before it sends anything else."""


@dataclass(frozen=True)
class Provider:
    """How one tool writes: where each thing lies (the first path that holds something counts), and what its words mean."""

    keys: tuple[str, ...]
    """An object that has a value at each of these paths is this tool's."""
    word: tuple[str, ...]
    words: Mapping[str, Word]
    """The tool's words in small letters."""
    time: tuple[str, ...]
    unit: str | None
    """Of times that are numbers: "s" or "ms"; None where they are ISO 8601 text."""
    event_id: tuple[str, ...] = ()
    """Empty where events have no id of their own: then all that is said names them."""
    email: tuple[str, ...] = ()
    phone: tuple[str, ...] = ()
    customer: tuple[str, ...] = ()
    recipient: tuple[str, ...] = ()
    """Whom the message went to, by an address or a number, as its channel has it."""
    several: bool = False
    """Whether one object may be about several addresses: each is an event of its own."""
    device: tuple[str, ...] = ()
    """What else somebody is known by, where nothing better is said."""
    campaign: tuple[str, ...] = ()
    machine: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Path -> what must lie there where a program, not a person, opened or clicked; ANY: whatever says something."""
    decide: Callable[[Record, str, Word], Word | None] | None = None
    """A last look at objects whose word alone does not say what they mean; None: none of ours."""


def _postmark_change(record: Record, written: str, word: Word) -> Word | None:
    if word.kind != EventKind.SUBSCRIBE:
        return word
    if not yes(record.get("SuppressSending")):
        return word
    # an address that bounced is suppressed too, and nobody took anything back
    return None if record.get("SuppressionReason") == "HardBounce" else Word(EventKind.UNSUBSCRIBE, word.channel)


def _ses_detail(record: Record, written: str, word: Word) -> Word | None:
    if written == "complaint":
        # a report that it was no spam, which mends an earlier one
        return None if at(record, "complaint.complaintFeedbackType") == "not-spam" else word
    if written == "subscription":
        topics = at(record, "subscription.newTopicPreferences")
        wanted = [at(topic, "subscriptionStatus") for topic in at(topics, "topicSubscriptionStatus") or ()]
        out = yes(at(topics, "unsubscribeAll")) or (bool(wanted) and "OptIn" not in wanted)
        return Word(EventKind.UNSUBSCRIBE if out else EventKind.SUBSCRIBE, word.channel)
    return word


def _braze_detail(record: Record, written: str, word: Word) -> Word | None:
    if written.endswith(("inboundreceive", "statechange")):
        answer = str(first(record, ("action", "subscription_status"))).lower().replace("-", "").replace(" ", "")
        kind = _BRAZE_ANSWERS.get(answer)
        channel = _CHANNELS.get(str(first(record, ("channel", "subscription_group_channel"))).lower(), word.channel)
        return None if kind is None else Word(kind, channel)
    if word.channel == Channel.APP and record.get("platform") == "web":
        return Word(word.kind, Channel.WEB)
    return word


def _customer_io_channel(record: Record, written: str, word: Word) -> Word | None:
    channel = CUSTOMER_IO_CHANNELS.get(str(record.get("object_type")).lower())
    return None if channel is None else Word(word.kind, channel)


_BRAZE_ANSWERS: Final = {
    "subscribed": EventKind.SUBSCRIBE,
    "optedin": EventKind.SUBSCRIBE,
    "unsubscribed": EventKind.UNSUBSCRIBE,
    "optedout": EventKind.UNSUBSCRIBE,
}
_CHANNELS: Final = {"email": Channel.EMAIL, "sms": Channel.SMS, "push": Channel.PUSH, "whatsapp": Channel.CHAT}

PROVIDERS: Final[dict[str, Provider]] = {
    "SendGrid": Provider(
        keys=("event", "email"),
        word=("event",),
        words=SENDGRID_WORDS,
        time=("timestamp",),
        unit="s",
        event_id=("sg_event_id",),
        email=("email",),
        campaign=("singlesend_id", "mc_auto_id", "marketing_campaign_id", "campaign_id", "category"),
        machine={"sg_machine_open": YES},
    ),
    "Mailgun": Provider(
        keys=("event", "recipient"),
        word=("event",),
        words=MAILGUN_WORDS,
        time=("timestamp",),
        unit="s",
        event_id=("id",),
        email=("recipient",),
        campaign=("campaigns", "tags"),
        machine={"client-info.bot": ANY},
    ),
    "Postmark": Provider(
        keys=("RecordType",),
        word=("RecordType",),
        words=POSTMARK_WORDS,
        time=("DeliveredAt", "ReceivedAt", "BouncedAt", "ChangedAt"),
        unit=None,
        email=("Recipient", "Email"),
        campaign=("Metadata.campaign_id", "Tag"),
        decide=_postmark_change,
    ),
    "Amazon SES": Provider(
        keys=("mail",),
        word=("eventType", "notificationType"),
        words=SES_WORDS,
        time=(
            *(f"{name}.timestamp" for name in ("open", "click", "delivery", "complaint", "subscription", "bounce")),
            "mail.timestamp",
        ),
        unit=None,
        several=True,
        campaign=("mail.tags.campaign_id", "mail.tags.campaign"),
        decide=_ses_detail,
    ),
    "Braze": Provider(
        keys=(EVENT_TYPE, "time"),
        word=(EVENT_TYPE,),
        words=BRAZE_WORDS,
        time=("time",),
        unit="s",
        event_id=("id",),
        email=("email_address",),
        phone=("to_phone_number", "user_phone_number", "phone_number"),
        customer=("external_user_id",),
        device=("device_id", "user_id"),
        campaign=("campaign_id", "canvas_id"),
        machine={"machine_open": YES, "is_suspected_bot_click": YES},
        decide=_braze_detail,
    ),
    "Iterable": Provider(
        keys=("eventName",),
        word=("eventName",),
        words=ITERABLE_WORDS,
        time=("dataFields.createdAt", "createdAt"),
        unit=None,
        email=("email", "dataFields.email"),
        phone=("dataFields.toPhoneNumber", "toPhoneNumber"),
        customer=("userId", "dataFields.userId"),
        campaign=("dataFields.campaignId", "campaignId"),
        machine={"dataFields.isBot": YES, "isBot": YES, "dataFields.proxySource": frozenset({"apple"})},
    ),
    "Customer.io": Provider(
        keys=("metric", "object_type"),
        word=("metric",),
        words=CUSTOMER_IO_WORDS,
        time=("timestamp",),
        unit="s",
        event_id=("event_id",),
        email=("data.identifiers.email", "data.email_address"),
        customer=("data.identifiers.id", "data.customer_id"),
        recipient=("data.recipient",),
        campaign=("data.campaign_id", "data.broadcast_id", "data.newsletter_id", "data.transactional_message_id"),
        machine={"data.prefetched": YES, "data.machine": YES, "data.bot": YES},
        decide=_customer_io_channel,
    ),
}
"""The tools, in the order in which an object is tried."""
_amazons = re.compile(r"https://sns\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/\?[A-Za-z0-9=&:%._~+/-]+")
_ADDRESSES: Final = {
    "delivery": "delivery.recipients",
    "complaint": "complaint.complainedRecipients",
}
"""Where SES lists whom an event is about; elsewhere it is whom the message went to."""


def records(item: Any) -> Iterator[Any]:
    """The objects of one item: out of the envelopes of SNS, EventBridge and Mailgun, out of lists of events."""
    if not isinstance(item, Mapping):
        yield item
    elif item.get("Type") == "Notification" and isinstance(item.get("Message"), str):
        try:
            inner = json.loads(item["Message"])
        except ValueError:
            inner = item
        yield inner if isinstance(inner, Mapping) else item
    elif isinstance(item.get("event-data"), Mapping):
        yield item["event-data"]
    elif "detail-type" in item and isinstance(item.get("detail"), Mapping):
        yield item["detail"]
    else:
        listed = next(
            (item[name] for name in ("events", "items", "Records") if isinstance(item.get(name), list)), [item]
        )
        for part in listed:
            yield part if part is item else next(records(part.get("Sns", part) if isinstance(part, Mapping) else part))


def read(record: Record) -> Meaning:
    """What an object means. Raises UnreadableError for one that cannot be used."""
    if record.get("Type") in CONFIRMATIONS:
        return Meaning(skipped=str(record["Type"]), notice=_confirmation(record))
    record = _flat(record)
    provider = next((tool for tool in PROVIDERS.values() if _is_of(record, tool)), None)
    if provider is None:
        raise UnreadableError(
            "event", f"is of none of the known tools ({', '.join(PROVIDERS)}): bring it with a mapping."
        )
    written = text(first(record, provider.word), provider.word[0])
    word = None if written is None else provider.words.get(written.lower())
    if provider.decide is not None and word is not None and written is not None:
        word = provider.decide(record, written.lower(), word)
    if word is None:
        return Meaning(skipped=_own_word(record, provider, written))
    if word.kind in (EventKind.OPEN, EventKind.CLICK) and _is_by_program(record, provider):
        return Meaning(skipped=MACHINE_OPEN if word.kind == EventKind.OPEN else BOT_CLICK)
    fields = said(
        event_id=text(first(record, provider.event_id), "event_id") or digest(record),
        occurred_at=_moment(record, provider),
        kind=word.kind.value,
        channel=word.channel.value,
        customer_id=text(first(record, provider.customer), "customer_id"),
        campaign_id=_campaign(record, provider),
    )
    if provider.several:
        return Meaning(tuple(_each_address(fields, record, written or "")))
    return Meaning(({**fields, **_who(record, provider, fields)},))


def _is_of(record: Record, provider: Provider) -> bool:
    return all(at(record, key) is not None for key in provider.keys)


def _flat(record: Record) -> Record:
    """Braze's objects of HTTP hold in `user` and `properties` what its files hold side by side; older ones of Customer.io
    say `event_type` "email_sent" for `object_type` "email" and `metric` "sent".
    """
    kind = record.get(EVENT_TYPE)
    if isinstance(kind, str) and kind.startswith("users."):
        more = [record.get(name) for name in ("user", "properties", "event_properties")]
        return {**{key: value for part in more if isinstance(part, Mapping) for key, value in part.items()}, **record}
    if isinstance(kind, str) and "metric" not in record and isinstance(record.get("data"), Mapping):
        channel, _, metric = kind.partition("_")
        return {**record, "object_type": channel, "metric": metric}
    return record


def _own_word(record: Record, provider: Provider, written: str | None) -> str:
    """The tool's own word for what is counted."""
    if written is None:
        raise UnreadableError(provider.word[0], "is missing: it says what happened.")
    return "HardBounce" if written == "SubscriptionChange" else written


def _is_by_program(record: Record, provider: Provider) -> bool:
    for path, marks in provider.machine.items():
        mark = str(at(record, path)).strip().lower()
        if mark in marks or (marks is ANY and mark not in ("", "none", "false", "0")):
            return True
    return False


def _moment(record: Record, provider: Provider) -> Any:
    value = first(record, provider.time)
    if provider.unit is None:
        return moment(value, provider.time[-1])
    if value is None:
        raise UnreadableError(provider.time[0], "is missing: say when it happened.")
    return epoch(value, provider.unit, provider.time[0])


def _campaign(record: Record, provider: Provider) -> str | None:
    value = first(record, provider.campaign)
    if isinstance(value, Mapping):
        value = first(value, ("id", "name"))
    return text(value, "campaign_id")


def _who(record: Record, provider: Provider, fields: Fields) -> Fields:
    email, phone = text(first(record, provider.email), "email"), text(first(record, provider.phone), "phone")
    recipient = text(first(record, provider.recipient), "recipient")
    if recipient is not None and email is None and "@" in recipient:
        email = recipient
    elif recipient is not None and "@" not in recipient and fields["channel"] == Channel.SMS:
        phone = phone or recipient
    identifiers = said(**{IdType.EMAIL.value: email, IdType.PHONE.value: phone})
    if not identifiers and "customer_id" not in fields and provider.device:
        device = next(
            ((path, value) for path in provider.device if (value := first(record, (path,))) is not None), None
        )
        if device is not None:
            name = IdType.DEVICE.value if device[0] == "device_id" else "braze"
            identifiers = {name: text(device[1], device[0])}
    return said(identifiers=identifiers)


def _each_address(fields: Fields, record: Record, written: str) -> Iterator[Fields]:
    """One event for each of those whom an event of SES is about."""
    listed = at(record, _ADDRESSES.get(written.lower(), "mail.destination")) or at(record, "mail.destination") or ()
    addresses = [_address(part) for part in listed]
    if fields["kind"] in (EventKind.OPEN, EventKind.CLICK) and len(addresses) > 1:
        raise UnreadableError(
            "mail.destination", f"names {len(addresses)} people, and nobody knows which of them it was."
        )
    for place, address in enumerate(addresses, 1):
        event_id = fields["event_id"] if len(addresses) == 1 else f"{fields['event_id']}:{place}"
        yield fields | said(event_id=event_id, identifiers=said(email=address))


def _address(part: Any) -> str | None:
    """The bare address of "Ada <ada@example.org>", or of an object that holds one."""
    written = text(part.get("emailAddress") if isinstance(part, Mapping) else part, "destination")
    if written is not None and written.endswith(">") and "<" in written:
        written = written[written.rindex("<") + 1 : -1]
    return written


def _confirmation(record: Record) -> str:
    """What to do; an address that is not Amazon's is not shown, because whoever reads this might open it."""
    url = str(record.get("SubscribeURL"))
    where = url if _amazons.fullmatch(url) else "(it names an address that is not Amazon's)"
    return (
        f"Amazon SNS asks to confirm that {shorten(record.get('TopicArn'), 200)} may send here ({record['Type']}). Nothing is"
        f" fetched by itself: open its SubscribeURL {where}, or run `aws sns confirm-subscription`."
    )
