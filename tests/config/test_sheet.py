"""config.sheet: a plant's list of meters as Excel writes it in China, into site.yaml and back."""

from __future__ import annotations

import contextlib
import csv
import io
import tempfile
from datetime import date
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.cli import main
from config.check import load_site
from config.mistake import ConfigError
from config.sheet import Imported, as_yaml, column_of, read_rows, to_rows
from config.sheet_file import read_sheet, write_sheet
from config.sheet_words import COLUMNS, MEDIA
from config.site import Meter

HEAD = [
    *("序号", "计量器具名称", "型号规格", "准确度等级", "测量范围", "生产厂家", "出厂编号", "用能单位管理编号"),
    *("安装使用地点及用途", "检定/校准状态", "有效期至", "检定证书编号", "倍率", "CT", "PT", "线路", "通信地址", "采集模型"),
]
ROWS = [
    *("1", "三相电能表", "DTSD1352", "0.5S", "3×1.5(6)A", "安科瑞", "00231107", "EM-001"),
    *("配电房，1号柜 总进线", "合格", "2027/6/30", "DL2025-03318", "80", "400/5", "1", "line1", "1", "acrel-dtsd1352"),
]
SECOND = [
    "2",
    "水表",
    "LXS-50",
    "2级",
    "",
    "宁波",
    "0000456",
    "WM-2",
    "锅炉房",
    "准用",
    "",
    "",
    "",
    "",
    "",
    "line1",
    "2",
    "arad-octave",
]
LEDGER = [["XX公司能源计量器具一览表"], [], HEAD, ROWS, SECOND]


def text_of(rows: list[list[str]], delimiter: str = ",") -> str:
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=delimiter).writerows(rows)
    return written.getvalue()


def sheet(folder: Path, rows: list[list[str]], encoding: str = "utf-8-sig", delimiter: str = ",") -> Path:
    path = folder / "meters.csv"
    path.write_bytes(text_of(rows, delimiter).encode(encoding))
    return path


def changed(**cells: str) -> list[list[str]]:
    """The ledger with cells of its first meter replaced, by title."""
    row = [cells.get(title, cell) for title, cell in zip(HEAD, ROWS, strict=True)]
    return [*LEDGER[:3], row, SECOND]


def mistakes(rows: list[list[str]]) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read_rows(rows, "meters.csv")
    return [str(each) for each in raised.value.mistakes]


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


# --- in -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8", "gb18030", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_ledger_is_read_however_excel_has_saved_it(tmp_path: Path, encoding: str, delimiter: str) -> None:
    imported = read_rows(read_sheet(sheet(tmp_path, LEDGER, encoding, delimiter)), "meters.csv")
    first, second = imported.meters
    assert (first.id, first.serial, first.place) == ("EM-001", "00231107", "配电房，1号柜 总进线")
    assert (first.maker, first.product, first.accuracy_class, first.measuring_range) == (
        "安科瑞",
        "DTSD1352",
        "0.5S",
        "3×1.5(6)A",
    )
    assert first.certificate
    assert (first.certificate.number, first.certificate.valid_until) == ("DL2025-03318", "2027-06-30")
    assert (first.link, first.address, first.model, first.ct, first.vt) == ("line1", "1", "acrel-dtsd1352", "400/5", "1")
    assert (second.serial, second.certificate, second.ct) == ("0000456", None, None)
    assert imported.names == {"EM-001": "三相电能表", "WM-2": "水表"}


def test_the_yaml_is_a_site_file_that_passes_the_check(tmp_path: Path) -> None:
    text = as_yaml(read_rows(LEDGER, "meters.csv"))
    assert "  - id: EM-001  # 三相电能表\n" in text
    site = f'gateway: plant/gw1\nlinks: {{line1: {{tcp: "127.0.0.1:502", framing: rtu}}}}\n{text}'
    (tmp_path / "site.yaml").write_text(site, "utf-8")
    first, second = load_site(tmp_path / "site.yaml").site.meters
    assert (first.serial, second.serial) == ("00231107", "0000456")


def test_every_title_is_known_in_its_ways_of_writing() -> None:
    for column in COLUMNS:
        for title in column.titles:
            for written in (title, f" {title}\n", title.upper(), title.replace("(", "（").replace(")", "）")):
                assert column_of(written) is column, written


def test_instruments_out_of_use_are_left_out_and_told() -> None:
    imported = read_rows(changed(**{"检定/校准状态": "停用"}), "meters.csv")
    assert [meter.id for meter in imported.meters] == ["WM-2"]
    assert "row 4 is left out: 停用" in imported.notes


def test_what_a_ledger_does_not_have_is_still_to_be_filled_in() -> None:
    rows = [
        [cell for title, cell in zip(HEAD, row, strict=True) if title not in ("线路", "采集模型")] for row in (HEAD, ROWS, SECOND)
    ]
    assert "still to be filled in: model of EM-001, WM-2" in read_rows(rows, "meters.csv", link="line7").notes
    assert {meter.link for meter in read_rows(rows, "meters.csv", "line7", "arad-octave").meters} == {"line7"}


@pytest.mark.parametrize(
    ("written", "day"), [("2027-6-30", "2027-06-30"), ("2027.06.30", "2027-06-30"), ("2027年6月30日", "2027-06-30")]
)
def test_days_are_read_as_people_write_them(written: str, day: str) -> None:
    certificate = read_rows(changed(有效期至=written), "meters.csv").meters[0].certificate
    assert certificate
    assert certificate.valid_until == day


def test_a_ratio_stands_for_the_transformer_where_none_is_named() -> None:
    assert read_rows(changed(CT="", PT="", 倍率="80"), "meters.csv").meters[0].ct == "80"
    assert read_rows(changed(CT="400/5", PT="10000/100", 倍率="8000"), "meters.csv").meters[0].vt == "10000/100"


def test_a_ratio_that_nobody_knows_yet_is_unknown() -> None:
    head = ["管理编号", "出厂编号", "通信地址", "CT", "PT"]
    imported = read_rows([head, ["EM-1", "7", "1", "未知", "1"]], "meters.csv", "line1", "acrel-dtsd1352")
    assert (imported.meters[0].ct, imported.meters[0].vt) == ("unknown", "1")


def test_all_mistakes_are_told_at_once_with_row_and_column() -> None:
    rows = changed(用能单位管理编号="EM 001", 有效期至="46203", 倍率="100", 出厂编号="2.31108E+11")
    rows[4] = [*SECOND[:7], "", *SECOND[8:]]
    told = mistakes(rows)
    assert told[0].startswith("meters.csv:4:7 出厂编号: 2.31108E+11 was shortened by the spreadsheet")
    assert told[1].startswith("meters.csv:4:8 用能单位管理编号: ")
    assert told[2] == "meters.csv:4:11 有效期至: 46203 is no day; write 2027-06-30 or 2027/6/30"
    assert told[3].startswith("meters.csv:4:13 倍率: 100 is not the ratio of 400/5")
    assert any(line.startswith("meters.csv:5:") and "id is missing" in line for line in told)


def test_a_number_that_stands_twice_is_told_at_its_second_place() -> None:
    rows = [*LEDGER, [*SECOND[:7], "EM-001", *SECOND[8:]]]
    assert mistakes(rows) == ["meters.csv:6:8 用能单位管理编号: EM-001 stands in row 4 already"]


@pytest.mark.parametrize("rows", [[], [["a", "b"]], [["序号", "出厂编号", "型号规格", "生产厂家"]]])
def test_a_sheet_without_its_head_is_told_what_is_missing(rows: list[list[str]]) -> None:
    assert "id" in mistakes(rows)[0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.text(max_size=8), max_size=8), max_size=8))
def test_no_table_breaks_the_reader(rows: list[list[str]]) -> None:
    with contextlib.suppress(ConfigError):
        read_rows([HEAD, *rows], "meters.csv")


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300))
def test_no_file_breaks_the_reader(data: bytes) -> None:
    for suffix in (".csv", ".xlsx"):
        with tempfile.NamedTemporaryFile(suffix=suffix) as file:
            file.write(data)
            file.flush()
            with contextlib.suppress(ConfigError):
                read_rows(read_sheet(Path(file.name)), "meters")


# --- out and in again -----------------------------------------------------------------------------------------

PAPER = st.from_regex(r"\A[A-Za-z0-9=+@.()\u4e00-\u4eff-][A-Za-z0-9 .()/\u4e00-\u4eff-]{0,20}[A-Za-z0-9]\Z")
METERS = st.builds(
    lambda number, fields: Meter.model_validate({"id": f"M-{number}", "link": "line1", "model": "arad-octave"} | fields),
    st.integers(0, 10**6),
    st.fixed_dictionaries(
        {},
        optional={
            "serial": st.from_regex(r"\A[0-9]{4,12}\Z"),
            "address": st.from_regex(r"\A0{0,6}[1-9][0-9]{0,5}\Z"),
            "place": PAPER,
            "maker": PAPER,
            "product": PAPER,
            "accuracy_class": PAPER,
            "measuring_range": PAPER,
            "seal": PAPER,
            "ct": st.sampled_from(["400/5", "80"]),
            "medium": st.sampled_from(sorted(MEDIA)),
            "every": st.sampled_from(["15m", "30s", "1h"]),
            "installed": st.dates(date(2000, 1, 1), date(2040, 1, 1)).map(str),
            "verification_months": st.integers(1, 600),
            "pipe_mm": st.integers(1, 5000),
            "certificate": st.fixed_dictionaries({"number": PAPER, "valid_until": st.just("2027-06-30")}),
        },
    ),
)


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_what_is_written_is_read_again_as_the_same_meters(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"meters{suffix}"

    @settings(max_examples=25, deadline=None)
    @given(st.lists(METERS, min_size=1, max_size=3, unique_by=lambda meter: meter.id), st.booleans())
    def again(meters: list[Meter], english: bool) -> None:
        write_sheet(path, to_rows(meters, english=english))
        read = read_rows(read_sheet(path), str(path))
        assert read.meters == tuple(meters)
        assert not read.notes
        assert tuple(map(Meter.model_validate, yaml.safe_load(as_yaml(Imported(tuple(_plain(meters)))))["meters"])) == _plain(
            meters
        )

    again()


def _plain(meters: list[Meter]) -> tuple[Meter, ...]:
    return tuple(meter.model_copy(update={"every": None}) for meter in meters)


def test_no_cell_that_is_written_is_a_formula(tmp_path: Path) -> None:
    from openpyxl import load_workbook

    meter = Meter.model_validate({"id": "M-1", "link": "line1", "model": "arad-octave", "place": "=HYPERLINK(1)"})
    write_sheet(tmp_path / "meters.xlsx", to_rows([meter]))
    cells = [cell for row in load_workbook(tmp_path / "meters.xlsx").worksheets[0].iter_rows() for cell in row]
    assert {cell.data_type for cell in cells} <= {"s", "inlineStr"}
    assert "=HYPERLINK(1)" in [cell.value for cell in cells]
    write_sheet(tmp_path / "meters.csv", to_rows([meter]))
    assert ",'=HYPERLINK(1)," in (tmp_path / "meters.csv").read_text("utf-8-sig")


def test_a_workbook_keeps_zeros_days_and_what_is_merged(tmp_path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    page = book.worksheets[0]
    page.append(["计量器具一览表"])
    page.append(["出厂编号", "用能单位管理编号", "安装使用地点及用途", "有效期至", "检定证书编号"])
    page.append([231107, "EM-1", "配电房", date(2027, 6, 30), "A-1"])
    page.append([231108.0, "EM-2", None, date(2027, 7, 1), "A-2"])
    page["A3"].number_format = "00000000"
    page.merge_cells("C3:C4")
    book.save(tmp_path / "meters.xlsx")
    first, second = read_rows(read_sheet(tmp_path / "meters.xlsx"), "meters.xlsx").meters
    assert (first.serial, second.serial) == ("00231107", "231108")
    assert (first.place, second.place) == ("配电房", "配电房")
    assert [meter.certificate.valid_until for meter in (first, second) if meter.certificate] == ["2027-06-30", "2027-07-01"]


# --- the verbs ------------------------------------------------------------------------------------------------


def test_the_verbs_read_a_ledger_into_yaml_and_write_it_again(tmp_path: Path) -> None:
    shown = run("import", sheet(tmp_path, LEDGER, "gb18030"))
    assert shown.exit_code == 0
    assert "2 meters. Put them into site.yaml" in shown.output
    made = run("import", tmp_path / "meters.csv", "--output", tmp_path / "meters.yaml")
    assert made.exit_code == 0
    assert run("import", tmp_path / "meters.csv", "--output", tmp_path / "meters.yaml").exit_code == 2
    text = (tmp_path / "meters.yaml").read_text("utf-8")
    head = 'gateway: plant/gw1\nlinks: {line1: {tcp: "127.0.0.1:502", framing: rtu}}\n'
    (tmp_path / "site.yaml").write_text(head + text, "utf-8")
    for name in ("again.csv", "again.xlsx"):
        assert run("export-meters", tmp_path / name, "--site", tmp_path / "site.yaml").exit_code == 0
        assert read_rows(read_sheet(tmp_path / name), name).meters == read_rows(LEDGER, "meters.csv").meters
    wrong = run("import", sheet(tmp_path, changed(有效期至="soon")))
    assert wrong.exit_code == 2
    assert "meters.csv:4:11 有效期至: soon is no day" in wrong.output
