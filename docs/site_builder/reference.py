"""The code's own words come in, the pages of the reference go out, by their place on the site."""

from site_builder import commands, events, http_calls, keys, metrics, signals
from site_builder.markdown import page


def pages() -> dict[str, str]:
    """Every page of the reference; each says what made it, so that nobody mends it by hand."""
    made = {
        "commands": ("Commands", "the command line itself", commands.body()),
        "http": ("HTTP calls", "the OpenAPI document, `/docs.json`", http_calls.body()),
        "mapping": ("Mapping keys", "the class that reads `mapping.toml`", keys.mapping()),
        "events": ("Events and channels", "the vocabulary and the rules of events", events.body()),
        "signals": ("Signals", "the list that training and serving compute", signals.body()),
        "rules": ("Rules", "the class that reads `rules.toml`", keys.rules()),
        "settings": ("Settings", "the class that reads the environment and `settings.toml`", keys.settings()),
        "metrics": ("Metrics", "the service's own registry, `/metrics`", metrics.body()),
    }
    return {f"reference/{name}.md": page(title, source, body) for name, (title, source, body) in made.items()}
