"""The words of messaging tools: each one, in small letters, to our kind and channel; what is not here is counted."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from features.vocabulary import Channel, EventKind


class Word(NamedTuple):
    """What a tool's word means."""

    kind: EventKind
    channel: Channel


def _on(channel: Channel, **kinds: EventKind) -> dict[str, Word]:
    return {word: Word(kind, channel) for word, kind in kinds.items()}


def _braze(name: str, channel: Channel, **kinds: EventKind) -> dict[str, Word]:
    return {f"users.messages.{name}.{word}": Word(kind, channel) for word, kind in kinds.items()}


SENDGRID_WORDS: Final[Mapping[str, Word]] = _on(
    Channel.EMAIL,
    processed=EventKind.SEND,
    delivered=EventKind.DELIVER,
    open=EventKind.OPEN,
    click=EventKind.CLICK,
    unsubscribe=EventKind.UNSUBSCRIBE,
    group_unsubscribe=EventKind.UNSUBSCRIBE,
    spamreport=EventKind.UNSUBSCRIBE,
    resubscribe=EventKind.SUBSCRIBE,
    group_resubscribe=EventKind.SUBSCRIBE,
)
MAILGUN_WORDS: Final[Mapping[str, Word]] = _on(
    Channel.EMAIL,
    accepted=EventKind.SEND,
    delivered=EventKind.DELIVER,
    opened=EventKind.OPEN,
    clicked=EventKind.CLICK,
    unsubscribed=EventKind.UNSUBSCRIBE,
    complained=EventKind.UNSUBSCRIBE,
)
POSTMARK_WORDS: Final[Mapping[str, Word]] = _on(
    Channel.EMAIL,
    sent=EventKind.SEND,
    delivery=EventKind.DELIVER,
    open=EventKind.OPEN,
    click=EventKind.CLICK,
    spamcomplaint=EventKind.UNSUBSCRIBE,
    subscriptionchange=EventKind.SUBSCRIBE,  # or the contrary: it says which
)
SES_WORDS: Final[Mapping[str, Word]] = _on(
    Channel.EMAIL,
    send=EventKind.SEND,
    delivery=EventKind.DELIVER,
    open=EventKind.OPEN,
    click=EventKind.CLICK,
    complaint=EventKind.UNSUBSCRIBE,
    subscription=EventKind.SUBSCRIBE,  # or the contrary: it says which
)
BRAZE_WORDS: Final[Mapping[str, Word]] = {
    **_braze(
        "email",
        Channel.EMAIL,
        send=EventKind.SEND,
        delivery=EventKind.DELIVER,
        open=EventKind.OPEN,
        click=EventKind.CLICK,
        unsubscribe=EventKind.UNSUBSCRIBE,
        markasspam=EventKind.UNSUBSCRIBE,
    ),
    **_braze(
        "sms",
        Channel.SMS,
        send=EventKind.SEND,
        delivery=EventKind.DELIVER,
        shortlinkclick=EventKind.CLICK,
        inboundreceive=EventKind.SUBSCRIBE,  # or the contrary, or nothing: it says which
    ),
    **_braze(
        "rcs",
        Channel.SMS,
        send=EventKind.SEND,
        delivery=EventKind.DELIVER,
        read=EventKind.OPEN,
        click=EventKind.CLICK,
        inboundreceive=EventKind.SUBSCRIBE,
    ),
    **_braze("pushnotification", Channel.PUSH, send=EventKind.SEND, open=EventKind.OPEN),
    **_braze("inappmessage", Channel.APP, impression=EventKind.IMPRESSION, click=EventKind.CLICK),
    **_braze("contentcard", Channel.APP, impression=EventKind.IMPRESSION, click=EventKind.CLICK),
    **_braze("newsfeedcard", Channel.APP, impression=EventKind.IMPRESSION, click=EventKind.CLICK),
    **_braze(
        "whatsapp",
        Channel.CHAT,
        send=EventKind.SEND,
        delivery=EventKind.DELIVER,
        read=EventKind.OPEN,
        click=EventKind.CLICK,
        inboundreceive=EventKind.SUBSCRIBE,
    ),
    **_braze("line", Channel.CHAT, send=EventKind.SEND, click=EventKind.CLICK),
    "users.behaviors.subscription.globalstatechange": Word(EventKind.SUBSCRIBE, Channel.EMAIL),
    "users.behaviors.subscriptiongroup.statechange": Word(EventKind.SUBSCRIBE, Channel.EMAIL),
}
ITERABLE_WORDS: Final[Mapping[str, Word]] = {
    **_on(
        Channel.EMAIL,
        emailsend=EventKind.SEND,
        emaildelivered=EventKind.DELIVER,
        emailopen=EventKind.OPEN,
        emailclick=EventKind.CLICK,
        emailunsubscribe=EventKind.UNSUBSCRIBE,
        emailcomplaint=EventKind.UNSUBSCRIBE,
        emailsubscribe=EventKind.SUBSCRIBE,
    ),
    **_on(Channel.SMS, smssend=EventKind.SEND, smsdelivered=EventKind.DELIVER, smsclick=EventKind.CLICK),
    **_on(
        Channel.PUSH,
        pushsend=EventKind.SEND,
        pushopen=EventKind.OPEN,
        webpushsend=EventKind.SEND,
        webpushclick=EventKind.CLICK,
    ),
    **_on(
        Channel.APP,
        inappsend=EventKind.SEND,
        inappdelivery=EventKind.DELIVER,
        inappopen=EventKind.OPEN,
        inappclick=EventKind.CLICK,
    ),
    **_on(Channel.CHAT, whatsappsend=EventKind.SEND, whatsappseen=EventKind.OPEN, whatsappclick=EventKind.CLICK),
}
CUSTOMER_IO_WORDS: Final[Mapping[str, Word]] = _on(
    Channel.EMAIL,
    sent=EventKind.SEND,
    delivered=EventKind.DELIVER,
    opened=EventKind.OPEN,
    clicked=EventKind.CLICK,
    unsubscribed=EventKind.UNSUBSCRIBE,
    spammed=EventKind.UNSUBSCRIBE,
    subscribed=EventKind.SUBSCRIBE,
)
"""Metrics; the channel is that of the `object_type`."""
CUSTOMER_IO_CHANNELS: Final[Mapping[str, Channel]] = {
    "email": Channel.EMAIL,
    "customer": Channel.EMAIL,  # somebody unsubscribed from everything: the tool's one switch, which is about e-mail first
    "sms": Channel.SMS,
    "push": Channel.PUSH,
    "in_app": Channel.APP,
    "whatsapp": Channel.CHAT,
}
