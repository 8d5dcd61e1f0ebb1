"""Format numbers as text for the page, the terminal and Markdown.

On the page, scores have three decimals and no zero before the decimal point, negative numbers have a true minus sign, and thin
spaces separate thousands. Plain text (`number`, `with_interval`) has the numbers as Python writes them. A missing number becomes
an en dash everywhere, never `nan`.
"""

import math
import re
from collections.abc import Sequence
from numbers import Real

from markupsafe import Markup, escape

MINUS = "\N{MINUS SIGN}"
THIN = "\N{NARROW NO-BREAK SPACE}"
DASH = "\N{EN DASH}"
TOO_WIDE = "too wide to tell"  # in place of an interval, see `too_wide`
# split -> name on the page; other splits keep their names
SPLIT_NAMES = {"val": "validation", "expert_valid": "expert-labeled validation", "expert_test": "expert-labeled test"}
Z = 1.959964  # a 95 % interval extends this many standard errors to each side


def is_number(value: object) -> bool:
    """Return whether a value is a finite number.

    >>> is_number(float("nan")), is_number(None), is_number(0.5)
    (False, False, True)
    """
    # This branch is for speed: a page makes about a million calls, nearly all with floats.
    if type(value) is float:
        return math.isfinite(value)
    return isinstance(value, Real) and math.isfinite(value)


def known(value: float | None) -> float | None:
    """Return a finite number as it is, any other value as None, because JSON has no NaN.

    >>> known(0.5), known(float("nan")), known(None)
    (0.5, None, None)
    """
    return float(value) if value is not None and is_number(value) else None


def number(value: float | None, form: str = ".3f", missing: str = DASH) -> str:
    """Format a number for plain text; return `missing` if it is None or not finite. `form`: a format such as ".3f".

    >>> number(0.5), number(float("nan")), number(0.5, "+.2f"), number(12345, ",")
    ('0.500', '–', '+0.50', '12,345')
    """
    return format(value, form) if value is not None and is_number(value) else missing


def with_interval(value: float, low: float, high: float, form: str = ".3f") -> str:
    """Format a number with its interval for plain text; without the interval if a bound is missing.

    >>> with_interval(0.8, 0.7, 0.9), with_interval(0.8, float("nan"), 0.9, ".2f"), with_interval(float("nan"), 0.7, 0.9)
    ('0.800 [0.700, 0.900]', '0.80', '–')
    """
    if not all(map(is_number, (value, low, high))):
        return number(value, form)
    return f"{number(value, form)} [{TOO_WIDE if too_wide(low, high) else f'{low:{form}}, {high:{form}}'}]"


def places(value: float | None, digits: int = 3) -> str:
    """Format a share, or a difference of shares, with `digits` decimals and without leading zero.

    >>> places(0.825), places(-0.0604), places(1.0), places(-0.0001), places(float("nan"))
    ('.825', '−.060', '1.000', '.000', '–')
    """
    if value is None or not is_number(value):
        return DASH
    return _shown(value, digits)


def p_value(p: float) -> str:
    """Format a p-value with three decimals; "< .001" for a smaller one, a dash for NaN.

    >>> p_value(0.0123), p_value(0.0002), p_value(float("nan"))
    ('.012', '< .001', '–')
    """
    return "< .001" if p < 0.001 else places(p)


def _shown(value: float, digits: int = 3) -> str:
    body = "%.*f" % (digits, value)  # noqa: UP031  (called 200,000 times per page; twice as fast as an f-string)
    sign = ""
    if body[0] == "-":
        body = body[1:]
        sign = MINUS if float(body) else ""
    return sign + (body[1:] if body[:2] == "0." else body)


def signed(value: float | None, digits: int = 3) -> str:
    """Format a difference as `places` does, but with a plus sign if it is above 0 after rounding.

    >>> signed(0.02), signed(-0.02), signed(0.0)
    ('+.020', '−.020', '.000')
    """
    body = places(value, digits)
    return (
        body if value is None or not is_number(value) or value <= 0 or not float(f"{value:.{digits}f}") else "+" + body
    )


def interval(low: float, high: float, digits: int = 3) -> str:
    """Format an interval; return "" if a bound is missing.

    >>> interval(0.816, 0.832), interval(float("nan"), 1), interval(0.01, 0.98)
    ('[.816, .832]', '', '[too wide to tell]')
    """
    if too_wide(low, high):
        return f"[{TOO_WIDE}]"
    return f"[{places(low, digits)}, {places(high, digits)}]" if is_number(low) and is_number(high) else ""


def too_wide(low: float, high: float) -> bool:
    """Return whether an interval says nothing.

    A share, such as AUROC or AUPRC: its interval has nine tenths of all possible values. A difference of shares, from -1 to
    1: also, so both signs and nearly all sizes are possible. Other numbers, such as a calibration slope, whose ideal is 1 and
    whose useful range is about 0 to 2: an interval of twice this length.

    >>> too_wide(0.02, 0.95), too_wide(-0.5, 0.5), too_wide(1.5, 11.5), too_wide(float("nan"), 1)
    (True, False, True, False)
    """
    if not -1 <= low <= high <= 1:
        return high - low >= 4
    return high - low >= (0.9 if low >= 0 else 1.8)


def integer(value: float | None) -> str:
    """Format a count, rounded to an integer, with thin spaces between thousands.

    >>> integer(129526) == f"129{THIN}526", integer(None)
    (True, '–')
    """
    return f"{round(value):,}".replace(",", THIN) if value is not None and is_number(value) else DASH


def two_figures(value: float | None) -> str:
    """Format a quantity with two significant digits; from 10 on, as an integer. Never use scientific notation.

    >>> two_figures(0.2213), two_figures(4.02), two_figures(137.9), two_figures(0.0041)
    ('0.22', '4.0', '138', '0.0041')
    """
    if value is None or not is_number(value):
        return DASH
    if value == 0:
        return "0"
    if abs(value) >= 10:
        return integer(value)
    decimals = 1 - math.floor(math.log10(abs(value)))
    return f"{value:.{decimals}f}".replace("-", MINUS)


def percent(part: float, total: float) -> str:
    """Format part / total in percent: without decimals from 1 % on, with one decimal below 1 %.

    >>> percent(11, 100), percent(1, 250), percent(1, 2500), percent(1, 0)
    ('11 %', '0.4 %', '< 0.1 %', '–')
    """
    if not (is_number(part) and is_number(total)) or total <= 0:
        return DASH
    share = 100 * part / total
    if share >= 0.95 or share == 0:
        return f"{share:.0f} %"
    return f"{share:.1f} %" if abs(share) >= 0.05 else "< 0.1 %"


def split_name(split: str) -> str:
    """Return the name of a split on the page.

    >>> split_name("test"), split_name("expert_valid")
    ('test', 'expert-labeled validation')
    """
    return SPLIT_NAMES.get(split, split)


def plural(number: int, noun: str) -> str:
    """Return a count with its noun in singular or plural.

    >>> plural(1, "run"), plural(24, "run"), plural(2, "hospital")
    ('1 run', '24 runs', '2 hospitals')
    """
    return f"{integer(number)} {noun}{'' if number == 1 else 's'}"


def of_all(part: int, total: int, noun: str) -> str:
    """Return how many of several things, with their noun.

    >>> of_all(3, 4, "run"), of_all(0, 1, "run")
    ('3 of 4 runs', '0 of 1 run')
    """
    return f"{integer(part)} of {plural(total, noun)}"


def listing(names: Sequence[str], at_most: int = 3) -> str:
    """Join names for a sentence; after the first `at_most` names, state only the number of the other names.

    >>> listing(["a", "b", "c"]), listing(["a", "b", "c", "d", "e"])
    ('a, b and c', 'a, b, c and 2 more')
    """
    shown = list(names[:at_most])
    if len(names) > at_most:
        shown.append(f"{integer(len(names) - at_most)} more")
    if len(shown) <= 1:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def sentence_case(text: str) -> str:
    """Return the text with a capital first letter.

    >>> sentence_case("the gap")
    'The gap'
    """
    return text[:1].upper() + text[1:]


def keep_intervals(text: str) -> Markup:
    """Escape a sentence as HTML, and prevent line breaks inside each interval such as [.816, .832]."""
    return Markup(re.sub(r"\[[^\[\]]{3,24}\]", r'<span class="ci">\g<0></span>', str(escape(text))))  # noqa: S704


def unbroken_names(text: str) -> Markup:
    """Escape a text as HTML, and prevent line breaks inside each short name with a hyphen, such as DenseNet-121.

    >>> unbroken_names("DenseNet-121 has a gap")
    Markup('<span class="nw">DenseNet-121</span> has a gap')
    >>> unbroken_names("SE-ResNet-10 (tiny)")
    Markup('<span class="nw">SE-ResNet-10</span> (tiny)')
    """
    name = r"(?<!\S)\w{1,12}-\w{1,6}(-\w{1,6})?(?!\S)"
    return Markup(re.sub(name, r'<span class="nw">\g<0></span>', str(escape(text))))  # noqa: S704
