"""The columns of a plant's meter ledger in the site file: what each takes, what it refuses, when a certificate is told of."""

from __future__ import annotations

from datetime import date

import pytest
from pydantic import ValidationError

from config.model import ratio_applied
from config.plate import Certificate, certificate_words
from config.site import Meter

PLATE = {
    "maker": "Acrel",
    "product": "DTSD1352-C",
    "medium": "electricity",
    "accuracy_class": "0.5S",
    "measuring_range": "3x1.5(6) A",
    "certificate": {"number": "DL2025-03318", "valid_until": "2027-06-30"},
    "verification_months": "72",
    "seal": "S-000123",
    "installed": "2026-02-01",
}
CERTIFICATE = Certificate(number="DL2025-03318", valid_until="2027-06-30")


def meter(**keys: object) -> Meter:
    return Meter.model_validate({"id": "main", "link": "line1", "model": "eastron-sdm630", "address": "1"} | keys)


def test_all_columns_are_taken_as_they_are_written() -> None:
    made = meter(**PLATE)
    assert made.accuracy_class == "0.5S"
    assert made.seal == "S-000123"
    assert made.verification_months == 72
    assert made.certificate == CERTIFICATE


@pytest.mark.parametrize(
    ("key", "written", "sentence"),
    [
        ("installed", "1.2.2026", "is not a day; write year-month-day, such as 2027-06-30"),
        ("installed", "2026-02-30", "there is no day"),
        ("verification_months", "six", "is not a whole number"),
        ("verification_months", "0", "greater than or equal to 1"),
        ("seal", "", "leave the key out"),
        ("medium", "power", "electricity"),
        ("certificate", {"number": "DL1"}, "valid_until"),
        ("certificate", {"number": "DL1", "valid_until": "2027"}, "is not a day"),
    ],
)
def test_what_cannot_be_is_refused(key: str, written: object, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        meter(**{key: written})


@pytest.mark.parametrize(
    ("today", "words"),
    [
        ("2027-05-30", ""),
        ("2027-05-31", "its certificate DL2025-03318 expires on 2027-06-30, in 30 days"),
        ("2027-06-30", "its certificate DL2025-03318 expires on 2027-06-30, in 0 days"),
        ("2027-07-01", "its certificate DL2025-03318 has expired on 2027-06-30"),
    ],
)
def test_a_certificate_is_told_of_from_thirty_days_before_its_end(today: str, words: str) -> None:
    told = certificate_words(CERTIFICATE, date.fromisoformat(today))
    assert told == (f"{words}: have the meter verified and write the new certificate into site.yaml" if words else "")


def test_a_meter_without_a_certificate_is_not_told_of() -> None:
    assert certificate_words(None, date(2027, 7, 1)) == ""


def test_who_applies_the_ratio_follows_from_what_is_read() -> None:
    assert ratio_applied(["none", "ct_vt"]) == "agent"
    assert ratio_applied(["none", "already_primary"]) == "meter"
    assert ratio_applied(["none"]) == ""
