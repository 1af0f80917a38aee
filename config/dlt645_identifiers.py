"""The data identifiers of DL/T 645: how many bytes the data behind each has, and which members a block brings.

    edition 2007: four bytes DI3 DI2 DI1 DI0, written high byte first          (DL/T 645-2007, annex A)
        00 what tariff day     energies                     01 the same: greatest demand and when it was
        02 what phase  00      voltages, currents, powers   04 ... parameters
    edition 1997: two bytes DI1 DI0                                            (DL/T 645-1997, annex A)
        9x  energies           Ax, Bx  greatest demand, its time            B6  voltages, ...    C0  parameters

A block is the identifier with FF in place of the tariff, the phase or the settlement day (edition 1997: F in its last
half byte); its members follow one another without anything between them. A sign is the highest bit of the highest
byte, only where the standard gives the item one: elsewhere that bit is part of a digit.

The standards themselves are not published freely: the tables are from public implementations (docs/protocols/dlt645.md).
What this file does not know: quantities and scales (a meter model says them), frames.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Item:
    """What an identifier brings.

    Attributes:
        value: bytes of the value, which comes first.
        size: bytes of all its data: of a greatest demand, the value and its time.
        signed: whether the highest bit is a minus.
    """

    value: int
    size: int
    signed: bool = False


_RATE = "([0-3][0-9A-F])"
_DAY = "(0[0-9A-C])"
# Combined active and combined reactive 1 and 2: of all phases, of phase A, B and C.
_COMBINED = "(00|03|04|17|18|2B|2C|3F|40)"

_ROWS_2007 = (
    (f"00{_COMBINED}{_RATE}{_DAY}", Item(4, 4, True)),
    (f"00(?!FF)..{_RATE}{_DAY}", Item(4, 4)),
    (f"01{_COMBINED}{_RATE}{_DAY}", Item(3, 8, True)),
    (f"01(?!FF)..{_RATE}{_DAY}", Item(3, 8)),
    ("02(01|0C)0[1-3]00", Item(2, 2)),
    ("02020[1-3]00", Item(3, 3, True)),
    ("020[345]0[0-3]00", Item(3, 3, True)),
    ("02060[0-3]00", Item(2, 2, True)),
    ("020[789]0[1-3]00", Item(2, 2)),
    ("020[AB]0[1-3](0[1-9A-F]|1[0-5])", Item(2, 2)),
    ("02800001", Item(3, 3, True)),
    ("02800002", Item(2, 2)),
    ("0280000[3-6]", Item(3, 3, True)),
    ("02800007", Item(2, 2, True)),
    ("0280000[89]", Item(2, 2)),
    ("0280000[AB]", Item(4, 4)),
    ("0330(0[0-9A-E])00", Item(3, 3)),
    ("03110000", Item(3, 3)),
    ("04000101", Item(4, 4)),
    ("04000102", Item(3, 3)),
    ("0400010[34]", Item(1, 1)),
    ("0400040[12]", Item(6, 6)),
    ("0400040[9A]", Item(3, 3)),
    ("0400050[1-7]", Item(2, 2)),
    ("0400060[1-3]", Item(1, 1)),
)
_ROWS_1997 = (
    ("9[014589][0-9A-E][0-9A-E]", Item(4, 4)),
    ("A[014589][1-9A-E][0-9A-E]", Item(3, 3)),
    ("B[014589][1-9A-E][0-9A-E]", Item(4, 4)),
    ("B21[01]", Item(4, 4)),
    ("B21[23]", Item(2, 2)),
    ("B214", Item(3, 3)),
    ("B61[1-3]", Item(2, 2)),
    ("B62[1-3]", Item(2, 2)),
    # The edition of 1997 gives powers no sign, some meters do: 80 kW and more are none that a meter sees without transformers.
    ("B63[0-3]", Item(3, 3, True)),
    ("B6[45][0-3]", Item(2, 2, True)),
    ("B69[1-3]", Item(2, 2)),
    ("C010", Item(4, 4)),
    ("C011", Item(3, 3)),
    ("C02[0-2]", Item(1, 1)),
    ("C03[01]", Item(3, 3)),
    ("C03[2-4]", Item(6, 6)),
)
_TARIFFS, _DAYS, _PHASES, _TOTAL_AND_PHASES = range(0x40), range(0x0D), range(1, 4), range(4)
# A block, where in it the member's number stands, and which numbers its members have, in their order.
_BLOCKS_2007 = (
    (f"0[01](?!FF)..FF{_DAY}", 4, _TARIFFS),
    (f"0[01](?!FF)..{_RATE}FF", 6, _DAYS),
    ("02(01|02|07|08|09|0C)FF00", 4, _PHASES),
    ("020[3-6]FF00", 4, _TOTAL_AND_PHASES),
)
_BLOCKS_1997 = (
    ("[9AB][014589][0-9A-E]F", 3, range(0x0F)),
    ("B6[129]F", 3, _PHASES),
    ("B6[345]F", 3, _TOTAL_AND_PHASES),
)


@lru_cache(maxsize=4096)
def item_of(identifier: str) -> Item | None:
    """What an identifier (8 or 4 hexadecimal capitals) brings; None where the tables have it not, such as for a block."""
    rows = _ROWS_2007 if len(identifier) == 8 else _ROWS_1997
    return next((item for pattern, item in rows if re.fullmatch(pattern, identifier)), None)


@lru_cache(maxsize=1024)
def members_of(block: str) -> tuple[str, ...]:
    """The identifiers whose data a block brings, in their order; none for what is no block. A meter may leave off the last."""
    width = 2 if len(block) == 8 else 1
    for pattern, at, numbers in _BLOCKS_2007 if width == 2 else _BLOCKS_1997:
        if re.fullmatch(pattern, block):
            return tuple(f"{block[:at]}{number:0{width}X}{block[at + width :]}" for number in numbers)
    return ()
