"""What the documentation says is what the program does: causes, commands and files."""

import re
import shlex
from pathlib import Path

import click
import pytest

from agent.cli import main
from drivers import mbus_vif, opcua_failure, opcua_status

ROOT = Path(__file__).parents[1]
READMES = [ROOT / folder / name for folder in ("", "config") for name in ("README.md", "README.zh-CN.md")]
PAGES = sorted([*READMES, *(ROOT / "docs").rglob("*.md")])

_CAUSES = (
    r'(?:NoAnswer|BadFrame|Refused|LinkDown|_Unusable|MeterError|NoValue)\(\s*"([a-z_]+)"',
    r'(?:_Unusable|NoValue)\(\s*"[a-z_]+" if .+ else "([a-z_]+)"\s*\)',
    r'return \(?"([a-z_]+)", (?:_\()?f?"',
    r'return "([a-z_]+)"(?: if .+ else "")?$',
    r'\bor "([a-z_]+)"$',
    r'^    \d+: \("([a-z_]+)",',
    r'^[A-Z_]+ = "([a-z_]+)"$',
    r'\.hole = "([a-z_]+)"',
)


def causes_in_the_code() -> set[str]:
    files = [
        *(ROOT / "drivers").glob("*.py"),
        *(
            ROOT / "agent" / f"{name}.py"
            for name in ("account", "book", "book_entries", "book_page", "coverage", "poll", "reading")
        ),
    ]
    found = {
        cause for path in files for pattern in _CAUSES for cause in re.findall(pattern, path.read_text("utf-8"), re.MULTILINE)
    }
    found |= {*mbus_vif.ERRORS.values(), *opcua_status.NAMES.values(), *opcua_status.OVERRIDDEN.values(), *opcua_failure.CAUSES}
    return found | {"other_meter", "out_of_range", "exception_N", "application_error_N", "bad_N", "uncertain_N"}


def test_every_cause_has_its_line_for_the_electrician_and_none_is_invented() -> None:
    page = (ROOT / "docs" / "causes.md").read_text("utf-8")
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", page, re.MULTILINE)
    assert {cause for row in rows for cause in re.findall(r"`(\w+)`", row)} == causes_in_the_code()


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "protocols").glob("*.md")), ids=lambda path: path.stem)
def test_the_pages_of_protocols_name_no_cause_that_is_not_explained(page: Path) -> None:
    explained = causes_in_the_code()
    section = re.search(r"^## When there is no value\n(.*?)^## ", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert section
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+)", section[1], re.MULTILINE)
    assert {cause for row in rows for cause in re.findall(r"`(\w+)`", row)} - explained == set()


def commands() -> list[tuple[str, str]]:
    found = []
    for path in PAGES:
        text = path.read_text("utf-8")
        for line in re.findall(r"^(?: {4}|\$ )(meterseal [a-z][^\n`|]*)|`(meterseal [a-z][^`\n]*)`", text, re.MULTILINE):
            shown = (line[0] or line[1]).strip()
            if not shown.endswith("v1"):  # what is signed, no command
                found.append((str(path.relative_to(ROOT)), shown))
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_command_shown_is_one_the_program_takes(page: str, line: str) -> None:
    words = shlex.split(line.split(" # ")[0].split("  ")[0], comments=True)
    words = [word for word in words if word not in (";", "&&", "|")]
    context = click.Context(main)
    name, command, rest = main.resolve_command(context, words[1:])
    assert command is not None, f"{page}: {line}"
    parser = command.make_parser(click.Context(command, info_name=name))
    parser.parse_args(list(rest))  # raises for an option that there is not


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page}: {target}"


def test_no_path_of_a_machine_and_no_registry_stands_in_the_project() -> None:
    forbidden = re.compile("/wo" + "rk/|py" + r"pi\.org|python" + r"hosted|registry\.np" + "m")
    for path in [
        *ROOT.glob("*"),
        *(p for name in ("agent", "drivers", "config", "deploy", "docs", "tests", ".ci") for p in (ROOT / name).rglob("*")),
    ]:
        if path.is_file() and "__pycache__" not in path.parts:
            assert not forbidden.search(path.read_text("utf-8", "replace")), path
