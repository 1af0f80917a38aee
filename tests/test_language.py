"""The two languages: every message is marked, translated and compiled, and what is not for people never changes with them."""

import ast
import gettext
import json
import os
import re
import string
import subprocess
import sys
from pathlib import Path

import pytest

from config import language
from tests import catalog
from tests.agent.gateway import StillClock, begun, new_key, stop

ROOT = Path(__file__).parents[1]
_DO = (
    "Put it into the language that is spoken where it is told: _('no meter {meter}', meter=meter), with `from config.language "
    "import _`; at the top of a module mark it N_('...') and write _(NAME) where it is told. If no person reads it there, "
    "say so in tests/catalog.py (UNTOLD_TEXTS, UNTOLD_NAMES)."
)


def fields_of(text: str) -> set[str]:
    return {name for _text, name, _spec, _conversion in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("path", catalog.sources(), ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_no_message_stays_in_english_for_want_of_a_mark(path: Path) -> None:
    if str(path.relative_to(ROOT)) not in catalog.UNTOLD:
        found = [f"line {line}: {text!r}" for line, text in catalog.unmarked(path)]
        assert found == [], _DO


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('print(f"{count} polls")', True),
        ('print(_("{count} polls", count=count))', False),
        ('print(f"{count}/{due}")', False),
        ('rows = [("METER", "AGE", "")]', True),
        ('rows = [(_("METER"), _("AGE"), "P99")]', False),
    ],
)
def test_heads_and_single_words_beside_a_value_are_found(
    line: str, found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "ROOT", tmp_path)
    (tmp_path / "told.py").write_text(line, "utf-8")
    assert bool([*catalog.unmarked(tmp_path / "told.py")]) == found


def test_one_of_two_messages_is_chosen_outside_of_the_mark_so_that_both_are_found() -> None:
    found = []
    for path in catalog.sources():
        called = (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call) and node.args)
        marks = [node for node in called if isinstance(node.func, ast.Name) and node.func.id in catalog.MARKS]
        found += [f"{path.name} {node.lineno}" for node in marks if isinstance(node.args[0], ast.IfExp)]
    assert found == []


def test_what_is_said_not_to_be_told_is_still_there() -> None:
    assert [name for name in (*catalog.UNTOLD, *catalog.UNTOLD_NAMES) if not (ROOT / name).is_file()] == []


def test_every_message_stands_in_the_catalog_and_is_translated() -> None:
    there = {str(message.id): str(message.string) for message in catalog.catalog() if message.id}
    missing = sorted(set(catalog.messages()) - set(there))
    stale = sorted(set(there) - set(catalog.messages()))
    assert (missing, stale) == ([], []), "run  python -m tests.catalog  and translate what it prints"
    assert [text for text, chinese in there.items() if not chinese] == [], "translate these in the .po"


def test_what_a_message_is_filled_with_is_known_in_both_languages() -> None:
    ours = set(catalog.messages()) - set(catalog.of_click())
    for message in catalog.catalog():
        if message.id in ours and "{" in str(message.string):
            english, chinese = str(message.id), str(message.string)
            try:
                known = fields_of(english)
            except ValueError:
                continue  # braces of YAML: it is never filled in
            assert fields_of(chinese) <= known, english


def test_the_compiled_catalog_says_what_the_written_one_says() -> None:
    with catalog.PO.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for message in catalog.catalog():
        if message.id and message.string:
            assert compiled.gettext(str(message.id)) == message.string, "run  python -m tests.catalog"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh_CN"),
        ({"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "zh_CN"}, "zh_CN"),
        ({"LC_ALL": "C", "METERSEAL_LANG": "zh"}, "zh_CN"),
        ({"LC_ALL": "", "LANG": "zh_CN"}, "zh_CN"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
    ],
)
def test_the_environment_says_which_language_is_spoken(environment: dict[str, str], expected: str) -> None:
    assert language.wanted(environment) == expected


def test_a_language_can_be_spoken_for_a_while() -> None:
    before = language._("meter silent")
    with language.speaking("zh"):
        assert language._("meter silent") == "表无应答"
        with language.speaking("en"):
            assert language._("meter silent") == "meter silent"
    assert language._("meter silent") == before


def program(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "METERSEAL_"))}
    command = [sys.executable, "-m", "agent", *words]
    return subprocess.run(command, cwd=ROOT, env=plain | environment, capture_output=True, text=True, timeout=60, check=False)


def test_help_mistakes_and_wrong_use_come_in_the_readers_language(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("gateway: a\n", "utf-8")
    english = program("check", "--site", str(tmp_path / "site.yaml"))
    chinese = program("--lang", "zh", "check", "--site", str(tmp_path / "site.yaml"))
    assert (english.returncode, chinese.returncode) == (2, 2)
    place = f"{tmp_path / 'site.yaml'}:1:10 gateway: a "
    assert f"{place}is not site/gateway" in english.stderr
    assert f"{place}不是“站点/网关”" in chinese.stderr
    assert english.stderr.endswith("[MS-102]\n")
    assert chinese.stderr.endswith("[MS-102]\n")
    wrong = program("--lang=zh", "chek")
    assert "错误：没有命令 'chek'" in wrong.stderr
    assert "[MS-901]" in wrong.stderr
    help_text = program("check", "--help", LANG="zh_CN.UTF-8").stdout
    assert help_text.startswith("用法：")
    assert "检查站点文件：每处错误及其行列" in help_text or "一次列出每处错误" in help_text
    assert "显示此帮助并退出。" in help_text


@pytest.mark.parametrize("words", [["verify", "--json"], ["completeness", "--json"], ["verify", "--fast", "--json"]])
async def test_json_is_the_same_whatever_language_is_asked_for(words: list[str], tmp_path: Path) -> None:
    clock = StillClock()
    ledger = await begun(tmp_path / "ledger.sqlite", new_key(), clock)
    await ledger.append(stop(clock))
    await ledger.close()
    said = [program("--lang", each, words[0], str(tmp_path / "ledger.sqlite"), *words[1:]).stdout for each in ("en", "zh")]
    assert said[0] == said[1]
    assert json.loads(said[0])


def blocks_of(page: str) -> list[str]:
    """Code in fences, and code that is indented behind an empty line."""
    fenced = re.findall(r"^```.*?^```$", page, re.MULTILINE | re.DOTALL)
    return fenced + re.findall(r"(?<=\n\n)(?: {4}[^\n]+\n)+", re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL))


def rows_of(page: str) -> list[tuple[int, list[str]]]:
    """Of every row of a table how many columns it has, and what stands as code in the first one."""
    rows = [line for line in page.splitlines() if line.startswith("|")]
    return [(len(re.findall(r"(?<!\\)\|", row)), re.findall(r"`[^`]+`", row.split(" | ")[0])) for row in rows]


@pytest.mark.parametrize("folder", ["", "config"])
def test_the_chinese_page_has_the_same_headings_code_and_tables_as_the_english_one(folder: str) -> None:
    english, chinese = ((ROOT / folder / name).read_text("utf-8") for name in ("README.md", "README.zh-CN.md"))
    assert blocks_of(chinese) == blocks_of(english)
    plain = [re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL) for page in (english, chinese)]
    levels = [[len(marks) for marks in re.findall(r"^(#+) ", page, re.MULTILINE)] for page in plain]
    assert levels[0] == levels[1]
    assert rows_of(plain[0]) == rows_of(plain[1])
    commands = [sorted(set(re.findall(r"`(meterseal [^`]+)`", page))) for page in plain]
    assert [each for each in commands[0] if each not in commands[1]] == []
    assert [len(re.findall(r"^- ", page, re.MULTILINE)) for page in plain] == [
        len(re.findall(r"^- ", plain[0], re.MULTILINE))
    ] * 2


@pytest.mark.parametrize("page", ["README.zh-CN.md", "config/README.zh-CN.md", "docs/faults.zh-CN.md"])
def test_every_link_of_a_chinese_page_leads_somewhere(page: str) -> None:
    path = ROOT / page
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", path.read_text("utf-8")):
        there = path.parent / target if target else path
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text("utf-8"), re.MULTILINE)
            named = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in named, f"{page}: {target}#{anchor}"
