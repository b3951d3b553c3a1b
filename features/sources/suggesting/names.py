"""What people call their columns, and the words they write in them: the tables that a first mapping is guessed from."""

from collections.abc import Mapping
from typing import Final

from features.vocabulary import Channel, EventKind, IdType


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ORDERS: Final = _words(
    """
    order_id orderid order_number order_no order invoice_no invoiceno invoice_number invoice basket_id transaction_id
    transactionid receipt_id receipt_no receipt ticket cart_id bill_no beleg belegnummer bestellnummer bestellung
    rechnung rechnungsnummer pedido commande
    """
)
"""Names of columns of which all rows with one value are lines of one order."""
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "event_id": _words("event_id eventid event_uuid message_id line_item_id line_id uuid id row_id"),
    "occurred_at": _words(
        """
        occurred_at event_time event_timestamp event_at event_datetime timestamp datetime date_time ts
        order_purchase_timestamp order_datetime order_timestamp order_time order_date orderdate ordered_at
        invoice_date invoicedate purchase_date purchased_at purchase_time transaction_date transaction_time
        transaction_timestamp trans_date sale_date sold_at placed_at placed_on placed visit_date created_at created_on
        created event_date review_date rated_at sent_at happened_at time when at t_dat date day unix_time epoch zeit
        zeitpunkt datum bestelldatum fecha t
        """
    ),
    "kind": _words(
        """
        kind event_type eventtype event_name event event_kind action action_type activity interaction interaction_type
        behavior behavior_type behaviour what type art vorgang
        """
    ),
    "channel": _words("channel sales_channel channel_name touchpoint where platform source device medium kanal ort"),
    "customer_id": _words(
        """
        customer_id customerid customer_number customer_no customer cust_id user_id userid user client_id clientid
        member_id member account_id buyer_id buyer shopper_id household_id household_key person_id profile_id
        contact_id reviewer_id subscriber_id customer_unique_id who kunde kundennummer kunden_id client cliente
        """
    ),
    "product_id": _words(
        """
        product_id productid sku lineitem_sku stock_code stockcode article_id article_number article item_id itemid
        item_code item_number product_code product_number product_sku variant_id asin gtin ean isbn upc movie_id
        movieid track_id book_id parent_asin artikel artikelnummer material product item producto
        """
    ),
    "quantity": _words("quantity qty units unit_count item_quantity quantity_sold pieces pcs menge anzahl cantidad"),
    "unit_price": _words(
        """
        unit_price unitprice price_per_unit price_each each item_price selling_price price cents preis einzelpreis
        stueckpreis prix precio
        """
    ),
    "value": _words(
        """
        value line_total line_amount line_value line_revenue item_total item_revenue extended_price sales_value
        net_amount net_sales revenue sales amount total_price total_amount payment_value order_value order_total
        purchase_amount total paid spend spent umsatz betrag gesamt gesamtpreis summe importe
        """
    ),
    "discount": _words("line_discount item_discount discount_amount discount off rabatt"),
    "order_discount": _words("order_discount discount_total total_discounts total_discount discount_amount discount"),
    "currency": _words("currency currency_code currency_iso curr money waehrung moneda"),
    "session_id": (*ORDERS, *_words("session_id sessionid session user_session visit_id")),
    "line": _words("line line_number line_no order_item_id position pos zeile item_no seq"),
    "campaign_id": _words("campaign_id campaignid campaign utm_campaign campaign_name"),
    "store_id": _words("store_id storeid store_number store_no store shop_id branch_id branch outlet_id filiale"),
}
"""What we take -> names in small letters with _ between their words, the most telling first."""
IDENTIFIERS: Final[Mapping[str, tuple[str, ...]]] = {
    IdType.EMAIL.value: _words("email e_mail email_address customer_email user_email mail"),
    IdType.PHONE.value: _words("phone phone_number mobile mobile_phone telephone customer_phone"),
    IdType.COOKIE.value: _words(
        "cookie cookie_id anonymous_id anonymousid visitor_id visitorid browser_id user_pseudo_id"
    ),
    IdType.DEVICE.value: _words("device_id deviceid"),
    IdType.LOYALTY_CARD.value: _words("loyalty_card loyalty_card_number loyalty_id card_number card_id card club_card"),
}
PRODUCTS: Final[Mapping[str, tuple[str, ...]]] = {
    "name": _words(
        """
        product_name item_name lineitem_name product_title title product_description description bezeichnung
        """
    ),
    "category": _words(
        "category product_category category_name category_code product_category_name department kategorie"
    ),
    "brand": _words("brand brand_name manufacturer vendor marke"),
}
CENTS: Final = _words("cents minor pence")
"""Last words of columns that count money in hundredths."""
RATINGS: Final = _words("rating stars score overall review_score")
QUERIES: Final = _words("query search_term search_query search keyword suchbegriff")
STATUSES: Final = _words("status order_status state order_state financial_status payment_status")

KINDS: Final[Mapping[EventKind, tuple[str, ...]]] = {
    EventKind.VIEW: _words(
        """
        view views viewed view_item product_view product_viewed view_product detail detail_view pv item_view looked
        seen gesehen ansicht
        """
    ),
    EventKind.ADD_TO_CART: _words(
        """
        add_to_cart addtocart added_to_cart cart cart_add add basket add_to_basket product_added warenkorb
        """
    ),
    EventKind.REMOVE_FROM_CART: _words(
        "remove_from_cart removefromcart removed_from_cart cart_remove remove product_removed"
    ),
    EventKind.PURCHASE: _words(
        """
        purchase purchased buy bought order ordered sale sold transaction checkout conversion order_completed
        order_placed verkauf kauf compra done paid shipped delivered complete completed fulfilled invoiced closed
        approved partially_paid
        """
    ),
    EventKind.RETURN: _words("return returned refund refunded order_refunded retoure back chargeback devolucion"),
    EventKind.SEARCH: _words("search searched products_searched suche"),
    EventKind.VISIT: _words("visit session_start page_view pageview page screen login app_open besuch"),
    EventKind.SEND: _words("send sent email_sent sms_sent push_sent processed"),
    EventKind.DELIVER: _words("deliver email_delivered"),
    EventKind.OPEN: _words("open opened email_open email_opened"),
    EventKind.CLICK: _words("click clicked email_click email_clicked link_click"),
    EventKind.UNSUBSCRIBE: _words("unsubscribe unsubscribed opt_out spam spamreport complaint"),
    EventKind.SUBSCRIBE: _words("subscribe subscribed opt_in"),
    EventKind.FEEDBACK: _words("feedback rating rate review survey"),
    EventKind.CALL: _words("call"),
    EventKind.IMPRESSION: _words("impression ad_impression ad_view"),
}
"""Our kind -> words in small letters; words of orders that came about are purchases."""
NOT_SOLD: Final = _words(
    """
    cancelled canceled cancel voided void failed declined draft pending unpaid expired open storniert stopped
    abandoned unavailable created
    """
)
"""Words of a status whose orders came to nothing, or not yet."""
CHANNELS: Final[Mapping[Channel, tuple[str, ...]]] = {
    Channel.WEB: _words("web website site online online_store onlineshop webshop desktop browser internet"),
    Channel.APP: _words("app mobile mobile_app ios android iphone smartphone tablet"),
    Channel.EMAIL: _words("email e_mail mail newsletter"),
    Channel.SMS: _words("sms text"),
    Channel.PUSH: _words("push push_notification"),
    Channel.SOCIAL: _words("social facebook instagram tiktok social_media"),
    Channel.ADS: _words("ads ad display google paid paid_search cpc"),
    Channel.CHAT: _words("chat whatsapp messenger"),
    Channel.CALL_CENTER: _words("call_center call_centre phone telephone telesales"),
    Channel.POST: _words("post letter catalog catalogue direct_mail"),
    Channel.STORE: _words("store shop pos retail in_store instore offline filiale branch till kasse"),
}
SYMBOLS: Final[Mapping[str, str]] = {"€": "EUR", "£": "GBP", "$": "USD", "¥": "JPY"}
"""What a mark beside an amount most likely means."""
TIME_FORMATS: Final = (
    "%Y-%m-%d %H:%M:%S %Z",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
    "%d.%m.%y %H:%M",
    "%d.%m.%y",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d/%m/%y %H:%M",
    "%m/%d/%y %H:%M",
    "%d/%m/%y",
    "%m/%d/%y",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %I:%M %p",
    "%d-%m-%Y %H:%M:%S",
    "%d-%m-%Y %H:%M",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%Y%m%d%H%M%S",
    "%Y%m%d",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%H:%M %d-%m-%Y",
    "%a %b %d %H:%M:%S %z %Y",
    "%a, %d %b %Y %H:%M:%S %z",
)
"""Patterns that are tried where times are no ISO 8601; of several that fit, the one in whose order the rows go counts."""
NUMBER_STYLES: Final = ((".", ""), (".", ","), (",", ""), (",", "."), (",", " "), (".", " "), (".", "'"))
"""Marks of decimals and of thousands that are tried, in this order."""
