"""Samples side by side: pictures, what is said of them, and their names."""

from collections.abc import Iterable
from dataclasses import dataclass

from lit_opt.engine.reports.page import escaped


@dataclass
class Card:
    """`pictures`: data URLs with what each shows; `title`, `about`, `name`: plain text."""

    pictures: list[tuple[str, str]]
    title: str
    about: str = ""
    name: str = ""


def cards(shown: Iterable[Card], wide: bool = False) -> str:
    """A list that has as many columns as the page has room for."""
    kind = "cards wide" if wide else "cards"
    return f'<ul class="{kind}">{"".join(map(_card, shown))}</ul>\n'


def _card(card: Card) -> str:
    pictures = "".join(
        f'<figure><img src="{escaped(source)}" alt="{escaped(shows or card.title)}" loading="lazy">'
        + (f"<figcaption>{escaped(shows)}</figcaption>" if shows else "")
        + "</figure>"
        for source, shows in card.pictures
    )
    lines = f"<b>{escaped(card.title)}</b>"
    lines += "".join(f"<span>{escaped(text)}</span>" for text in (card.about, card.name) if text)
    return f'<li><div class="pictures">{pictures}</div>{lines}</li>'
