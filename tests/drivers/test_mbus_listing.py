"""drivers.mbus_listing: all that telegrams say, for a person."""

from __future__ import annotations

import pytest

from drivers.mbus_listing import listing
from drivers.mbus_record import read_telegram
from tests.drivers.mbus_frames import ACK, TELEGRAMS, telegram

# "The M-Bus: A Documentation" 4.8, page 43.
PUBLISHED = bytes.fromhex(
    "681f1f68 08 02 72 78563412 2440 01 07 55 00 0000 03 13 153100 da 02 3b 1301 8b 60 04 371802 18 16".replace(" ", "")
)


def said(records: str, **more: object) -> list[list[str]]:
    return [line.split() for line in listing([telegram(records.replace(" ", ""), **more)])]  # type: ignore[arg-type]  # all fit


def test_the_published_example_is_told_in_words() -> None:
    assert [line.split() for line in listing([ACK, PUBLISHED])] == [
        ["volume", "12.565", "m3"],
        ["volume_flow", "maximum", "storage", "5", "0.113", "m3/h"],
        ["energy", "tariff", "2", "subunit", "1", "218370", "Wh"],
    ]


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ("426c bf2c", "storage 1 2021-12-31"),
        ("046d 0e0ec12b", "2022-11-01T14:14"),
        ("046d 8e0ec12b", "no date: 8e 0e c1 2b"),
        ("046d 0000c12b", "2022-11-01T00:00"),
        ("066d 1e0e0cc12b00", "2022-11-01T12:14:30"),
        ("036d 1e0e0c", "12:14:30"),
        ("0dfd10 05 3130302e31", "1.001"),
        ("0c13 ddb4ebdd", "bad bcd: dd b4 eb dd"),
        ("0c06 785634f2", "-2345678000 Wh"),
        ("0493 15 00000000", "no data"),
        ("0008", "no data"),
        ("047c 03 485225 64000000", "100 %RH"),
        ("0408 01000000", "1 J"),
        ("04ab12 d2040000", "average 1234 W"),
        ("0dfd67 f0 000102030405060708090a0b0c0d0e0f", "00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f"),
        ("04fb20 01000000", "0.028316846592 m3"),
    ],
)
def test_every_form_of_data_is_told(record: str, told: str) -> None:
    (line,) = said(record)
    assert " ".join(line[1:]) == told


def test_what_is_wrong_with_the_meter_comes_first() -> None:
    assert said("0413 01000000", status=0x0C)[:2] == [
        ["status", "the", "meter's", "battery", "is", "low"],
        ["status", "the", "meter", "reports", "a", "permanent", "error"],
    ]
    assert said("0413 01000000", configuration="0005") == [["its", "records", "are", "encrypted"]]


@pytest.mark.parametrize("name", sorted(TELEGRAMS))
def test_every_published_telegram_is_told_record_for_record(name: str) -> None:
    telegram = read_telegram(TELEGRAMS[name])
    lines = [line for line in listing([TELEGRAMS[name]]) if not line.startswith(("status ", "its records"))]
    assert [line.split()[0] for line in lines] == [record.meaning.kind for record in telegram.records]
    assert all(len(line.split()) > 1 or record.length == 0 for line, record in zip(lines, telegram.records, strict=True))


def test_nothing_is_told_of_what_is_no_telegram() -> None:
    assert listing([ACK, b"", b"\x68"]) == []
