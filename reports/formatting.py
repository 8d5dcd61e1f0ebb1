"""A number as a reader meets it: three places, no leading zero, a true minus, thin spaces.

Missing values never reach the page as `nan`: every function here returns an en dash for them.
"""

import math
import re
from collections.abc import Sequence
from numbers import Real

from markupsafe import Markup, escape

MINUS = "\N{MINUS SIGN}"
THIN = "\N{NARROW NO-BREAK SPACE}"
DASH = "\N{EN DASH}"
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
Z = 1.959964  # standard errors to either side of a 95 % interval


def known(value: object) -> bool:
    """Tell whether a value is a finite number.

    >>> known(float("nan")), known(None), known(0.5)
    (False, False, True)
    """
    if type(value) is float:  # what nearly every cell holds: a page asks this a million times
        return math.isfinite(value)
    return isinstance(value, Real) and math.isfinite(value)


def places(value: float | None, digits: int = 3) -> str:
    """Return a share or a difference of shares without its leading zero.

    >>> places(0.825), places(-0.0604), places(1.0), places(-0.0001), places(float("nan"))
    ('.825', '−.060', '1.000', '.000', '–')
    """
    if value is None or not known(value):
        return DASH
    return _shown(value, digits)


def _shown(value: float, digits: int = 3) -> str:
    body = "%.*f" % (digits, value)  # noqa: UP031  (a page says it 200,000 times; half the time of an f-string)
    sign = ""
    if body[0] == "-":
        body = body[1:]
        sign = MINUS if float(body) else ""
    return sign + (body[1:] if body[:2] == "0." else body)


def signed(value: float | None, digits: int = 3) -> str:
    """Return a difference with its sign, plus included.

    >>> signed(0.02), signed(-0.02), signed(0.0)
    ('+.020', '−.020', '.000')
    """
    body = places(value, digits)
    return body if value is None or not known(value) or value <= 0 or not float(f"{value:.{digits}f}") else "+" + body


def interval(low: float, high: float) -> str:
    """Return an interval for running text, or "" where there is none.

    >>> interval(0.816, 0.832), interval(float("nan"), 1)
    ('[.816, .832]', '')
    """
    return f"[{places(low)}, {places(high)}]" if known(low) and known(high) else ""


def span(low: float, high: float) -> str:
    """Return an interval for a table cell; a dash between negative numbers would mislead, so those say `to`.

    >>> span(0.816, 0.832), span(-0.01, 0.03)
    ('.816–.832', '−.010 to .030')
    """
    if not (known(low) and known(high)):
        return ""
    return f"{_shown(low)} to {_shown(high)}" if low < 0 else f"{_shown(low)}{DASH}{_shown(high)}"


def whole(value: float | None) -> str:
    """Return a count with thin spaces between thousands.

    >>> whole(129526) == f"129{THIN}526", whole(None)
    (True, '–')
    """
    return f"{round(value):,}".replace(",", THIN) if value is not None and known(value) else DASH


def two_figures(value: float | None) -> str:
    """Return a quantity with two figures, never in scientific notation.

    >>> two_figures(0.2213), two_figures(4.02), two_figures(137.9), two_figures(0.0041)
    ('0.22', '4.0', '138', '0.0041')
    """
    if value is None or not known(value):
        return DASH
    if value == 0:
        return "0"
    if abs(value) >= 10:
        return whole(value)
    decimals = 1 - math.floor(math.log10(abs(value)))
    return f"{value:.{decimals}f}".replace("-", MINUS)


def percent(part: float, total: float) -> str:
    """Return a share in per cent: whole from 1 % on, one place below.

    >>> percent(11, 100), percent(1, 250), percent(1, 0)
    ('11 %', '0.4 %', '–')
    """
    if not (known(part) and known(total)) or total <= 0:
        return DASH
    share = 100 * part / total
    return f"{share:.0f} %" if share >= 0.95 or share == 0 else f"{share:.1f} %"


def word(number: int) -> str:
    """Return a small number as a word.

    >>> word(5), word(24)
    ('five', '24')
    """
    return WORDS[number] if 0 <= number < len(WORDS) else whole(number)


def plural(number: int, noun: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "run"), plural(24, "run"), plural(2, "hospital")
    ('1 run', '24 runs', '2 hospitals')
    """
    return f"{whole(number)} {noun}{'' if number == 1 else 's'}"


def listing(names: Sequence[str], at_most: int = 3) -> str:
    """Return names as a list in running text; beyond `at_most` the rest is a count.

    >>> listing(["a", "b", "c"]), listing(["a", "b", "c", "d", "e"])
    ('a, b and c', 'a, b, c and two more')
    """
    shown = list(names[:at_most])
    if len(names) > at_most:
        shown.append(f"{word(len(names) - at_most)} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else ""


def sentence_case(text: str) -> str:
    """Return the text with a capital at its start.

    >>> sentence_case("all four")
    'All four'
    """
    return text[:1].upper() + text[1:]


def keep_intervals(text: str) -> Markup:
    """Escape a sentence, then hold each interval in it together at line ends."""
    return Markup(re.sub(r"\[[^\[\]]{3,24}\]", r'<span class="ci">\g<0></span>', str(escape(text))))  # noqa: S704
