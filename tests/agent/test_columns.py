"""Columns stand under one another in both languages."""

import re
import string

from agent.columns import columns, filled, width_of
from config.cause_words import CAUSES, cause_words
from config.language import speaking


def test_a_chinese_character_takes_two_columns() -> None:
    assert [width_of(text) for text in ("", "kWh", "电表", "（m³）")] == [0, 3, 4, 6]
    assert filled("表", 4) == "表  "
    assert filled("表", 4, right=True) == "  表"


def test_what_stands_in_one_column_begins_or_ends_at_one_place() -> None:
    lines = columns([("METER", "已抄", ""), ("主表", "12", "漏抄"), ("EM-3", "1440", "")], right=(1,))
    assert lines == ["METER  已抄", "主表     12  漏抄", "EM-3   1440"]


def test_a_last_column_of_numbers_ends_at_one_place() -> None:
    assert columns([("LINE", "BUSY"), ("a", "3 %")], right=(1,)) == ["LINE  BUSY", "a      3 %"]


def test_every_cause_is_told_in_chinese_and_keeps_its_english_words() -> None:
    with speaking("en"):
        assert cause_words("gateway_target") == "gateway target"
    with speaking("zh"):
        told = [cause_words(cause.replace(" ", "_")) for cause in CAUSES]
        assert cause_words("exception_17") == "exception 17"
    assert [text for text in told if not re.sub(f"[{string.printable}]", "", text)] == []
