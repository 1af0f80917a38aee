"""Which language a reader of the status page is shown. Pure."""

from __future__ import annotations

from config.language import CHINESE, ENGLISH, N_

LANGUAGES = {"en": ENGLISH, "zh": CHINESE}
STATES = (N_("synchronized"), N_("unsynchronized"), N_("unknown"), N_("good"), N_("uncertain"), N_("bad"))


def language_of(asked: str, accepted: str) -> str:
    """The language to show.

    Args:
        asked: what the address says (`?lang=zh`); empty where it says nothing.
        accepted: the browser's Accept-Language (RFC 9110, 12.5.4).
    """
    for wanted in (asked, *_by_preference(accepted)):
        if (language := wanted.strip().lower().split("-")[0]) in LANGUAGES:
            return language
    return "en"


def _by_preference(accepted: str) -> list[str]:
    ranges = []
    for part in accepted[:200].split(","):
        name, _, parameter = part.partition(";")
        try:
            quality = float(parameter.strip().removeprefix("q=")) if parameter else 1.0
        except ValueError:
            quality = 0.0
        ranges.append((quality, name))
    return [name for quality, name in sorted(ranges, key=lambda each: -each[0]) if quality > 0]
