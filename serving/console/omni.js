// What visitors of a web shop see and do in, events for Omni and products to show out. No dependencies; 1 cookie.
//
//   <script src="https://omni.example/omni.js" data-key="omni_pk…"></script>
//   <script>
//     omni.consent(true);                                      // once the visitor has agreed; remembered by the cookie
//     omni.view("1082185");
//     omni.addToCart("1082185", 1);
//     omni.nextProducts({k: 4}).then(({products}) => show(products));
//   </script>
//
// Until consent(true) nothing is stored and nothing is sent; consent(false) takes the cookie away again. The key is one of
// the scope "browser" (omni key create my-shop --scope browser), and OMNI_CORS_ORIGINS names the shop's origin. Who the
// visitor is, what they bought and what they agreed to be sent come from the shop's own servers, not from here.
(function () {
  "use strict";
  const script = document.currentScript;
  const home = script.src.replace(/\/omni\.js.*$/, "");
  const key = script.dataset.key || "";
  const NAME = script.dataset.cookie || "omni_id";
  const DAYS = 390; // browsers keep no cookie longer than 400 days
  const PATIENCE_MS = 1000; // a page is shown without recommendations rather than late
  const NONE = Object.freeze({products: [], decision_id: null});

  // 128 random bits: whoever does not know it can ask nothing about this visitor.
  function random() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  }

  function visitor() {
    const found = document.cookie.split("; ").find((pair) => pair.startsWith(NAME + "="));
    return found ? found.slice(NAME.length + 1) : null;
  }

  function keep(value, days) {
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `${NAME}=${value}; Max-Age=${days * 86400}; Path=/; SameSite=Lax${secure}`;
  }

  // The body goes as plain text and the key in the address, so that no preflight is asked first, and a beacon can carry it.
  const address = (path) => home + path + (key ? "?key=" + encodeURIComponent(key) : "");

  function tell(kind, fields) {
    const cookie = visitor();
    if (cookie === null) return false;
    const event = {event_id: "b-" + random(), kind, channel: "web", identifiers: {cookie}};
    for (const [name, value] of Object.entries(fields || {})) {
      if (value !== undefined && value !== null) event[name] = value;
    }
    const body = JSON.stringify({events: [event]});
    const url = address("/v1/events");
    if (navigator.sendBeacon && navigator.sendBeacon(url, body)) return true;
    fetch(url, {method: "POST", body, keepalive: true, credentials: "omit"}).catch(() => {});
    return true;
  }

  async function nextProducts(options) {
    const cookie = visitor();
    if (cookie === null) return NONE;
    try {
      const response = await fetch(address("/v1/next-products"), {
        method: "POST",
        body: JSON.stringify({...options, identifiers: {cookie}}),
        credentials: "omit",
        signal: AbortSignal.timeout(PATIENCE_MS),
      });
      if (!response.ok) return NONE;
      const {products, decision_id} = await response.json();
      return {products, decision_id};
    } catch {
      return NONE; // a shop goes on without us
    }
  }

  window.omni = Object.freeze({
    consent(agreed) {
      if (!agreed) keep("", 0);
      else if (visitor() === null) keep(random(), DAYS);
    },
    visit: () => tell("visit"),
    view: (product_id) => tell("view", {product_id}),
    search: () => tell("search"),
    addToCart: (product_id, quantity = 1) => tell("add_to_cart", {product_id, quantity}),
    removeFromCart: (product_id, quantity = 1) => tell("remove_from_cart", {product_id, quantity}),
    impression: (product_id, decision_id) => tell("impression", {product_id, decision_id}),
    click: (product_id, decision_id) => tell("click", {product_id, decision_id}),
    nextProducts,
  });
})();
