"""What a token calls itself, looked at with suspicion: characters that deceive, and names that look like others.

A token's symbol and name are whatever its author wrote. Guarantees: `skeleton` gives one text for all that a person
may take for the same (case, accents, full-width letters, Cyrillic and Greek look-alikes, 0 for O, 1 and I for l, rn for
m); no text of a token is needed to be shown in order to be judged.
Not guaranteed: that every look-alike of Unicode is known. The label that an asset trades under is the operator's own,
in ASCII capitals.
"""

import unicodedata
from collections.abc import Iterable
from typing import Final

from chains.types import Address
from contracts.assets import Asset

MAX_SHOWN: Final = 64
"""Characters of a token's own text that are repeated anywhere."""
LONG_SYMBOL: Final = 16
LONG_NAME: Final = 64
SHOWN_DIGITS: Final = 4
"""Hex digits at either end of an address, which is what wallets show and what look-alike addresses are mined for."""

_HIDDEN: Final = frozenset({"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"})
"""Unicode categories that print nothing or turn the text around: controls, formats (bidi, zero width), private use."""
# After case folding and decomposition. From the shapes in common fonts, as Unicode's confusables.txt has them.
_FOLDED: Final = str.maketrans(
    {
        **dict(zip("авсԁеԍһіјкӏмоԛѕтѵԝхунгпр", "abcdeghijklmoqstvwxyhrnp", strict=True)),
        **dict(zip("αβεηικνορτυχωγ", "abenikvoptuxwy", strict=True)),
        **dict(zip("0158|!ıłøđ$₮ξ₿€¥£", "olsbllllodstebeyl", strict=True)),
        "ß": "ss",
    }
)


def text_problem(text: str) -> str | None:
    """Why no honest token would call itself that; None when nothing of the kind is in it."""
    hidden = sorted({f"U+{ord(one):04X}" for one in text if unicodedata.category(one) in _HIDDEN})
    if hidden:
        return f"has characters that do not show or turn the text around ({', '.join(hidden[:4])})"
    if text != text.strip():
        return "has blanks at its ends"
    return None


def unusual_text(text: str, *, longest: int) -> str | None:
    """What a person should look at twice; None when it is short ASCII."""
    if not text.isascii():
        foreign = sorted({f"{one} (U+{ord(one):04X})" for one in text if not one.isascii()})
        return f"has letters that are not ASCII: {', '.join(foreign[:4])}"
    if len(text) > longest:
        return f"has {len(text)} characters"
    return None


def shown(text: str) -> str:
    """The text, safe to print: hidden characters as their numbers, cut where it is long."""
    safe = "".join(f"\\u{ord(one):04x}" if unicodedata.category(one) in _HIDDEN else one for one in text[:MAX_SHOWN])
    return safe if len(text) <= MAX_SHOWN else f"{safe}..."


def skeleton(text: str) -> str:
    """One text for all that look alike; compare skeletons, never show them."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(one for one in decomposed if not unicodedata.combining(one))
    folded = letters.translate(_FOLDED)
    kept = "".join(one for one in folded if one.isalnum())
    return kept.replace("rn", "m").replace("vv", "w").replace("i", "l")


def look_alikes(
    assets: Iterable[Asset], *, address: Address, texts: Iterable[str], name: str | None = None
) -> list[str]:
    """Which listed assets the token may be taken for, and by what. `texts` are its symbols, on-chain and chosen."""
    found: list[str] = []
    symbols = list(dict.fromkeys(texts))
    for asset in assets:
        if asset.address == address:
            continue
        known = {asset.symbol, *asset.onchain_symbols}
        for symbol in symbols:
            if symbol in known:
                found.append(f"the symbol {shown(symbol)!r} is that of the listed {asset.symbol}")
            elif any(skeleton(symbol) == skeleton(one) for one in known):
                found.append(f"the symbol {shown(symbol)!r} looks like {asset.symbol}")
        if name is not None and skeleton(name) == skeleton(asset.name):
            found.append(f"the name {shown(name)!r} is that of {asset.symbol}")
        if asset.address is not None and _ends(asset.address) == _ends(address):
            found.append(f"the address begins and ends like that of {asset.symbol}, {asset.address}")
    return found


def _ends(address: Address) -> tuple[str, str]:
    lower = address.lower()
    return lower[2 : 2 + SHOWN_DIGITS], lower[-SHOWN_DIGITS:]
