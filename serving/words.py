"""Numbers in, the words that a person uses for them out."""


def days(value: float) -> str:
    """A length of time in words."""
    if value < 1 / 24:
        return "less than an hour"
    if value < 1:
        hours = max(1, round(value * 24))
        return "1 hour" if hours == 1 else f"{hours} hours"
    whole = round(value)
    return "1 day" if whole == 1 else f"{whole} days"


def number(value: float) -> str:
    """A number with as many digits as a person wants."""
    if value == round(value) and abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}"
