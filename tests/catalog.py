"""The catalog of messages: what the program says to a person, found in its own text, and what is said in Chinese for it.

    python -m tests.catalog        brings config/locale/*/LC_MESSAGES/meterseal.po up to date and compiles it

Messages come from `_("...")` and `N_("...")` in the source, from the help of the command line, from the faults, and from
click, which says some things itself. New ones are added without a translation, and printed: translate them in the .po.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from config.language import CHINESE, DOMAIN, ENGLISH, LOCALE

ROOT = Path(__file__).parents[1]
PO = LOCALE / CHINESE / "LC_MESSAGES" / f"{DOMAIN}.po"
MARKS = ("_", "N_")
_PROSE = re.compile(r"[A-Za-z]{2,}('s)?[,;:.]? +[`'(]?[A-Za-z]{2,}")
_A_WORD = re.compile(r"(^|[ (])[a-z]{3,}([ ,.:;)]|$)")  # beside what is put in, a single word is prose too
_A_HEAD = re.compile(r"[A-Z]{2,}( [A-Z]+)*")
_SQL = re.compile(
    r"\s*(kind NOT IN|n >= |SELECT|INSERT|CREATE|UPDATE|DELETE|PRAGMA|BEGIN|DROP|VACUUM|WITH|ALTER|ATTACH|REINDEX)\b"
)

# Lines of the header that would differ with each day and program, and say nothing.
_CHANGING = (
    b'"Project-Id',
    b'"Report-Msgid',
    b'"POT-Creation',
    b'"PO-Revision',
    b'"Last-Trans',
    b'"Language-Team',
    b'"Generated-By',
)

# Modules whose prose is not told to a person in the words that stand there, and why.
UNTOLD = {
    "agent/faults.py": "taken from the registry",
    "agent/faults_line.py": "taken from the registry",
    "agent/faults_agent.py": "taken from the registry",
    "agent/enrolment.py": "a form that is signed is the same everywhere",
    "config/sheet_words.py": "titles of columns, as they stand in people's lists",
    "agent/faults_collect.py": "taken from the registry",
    "agent/metrics.py": "metrics are for programs: the same everywhere",
    "agent/page_words.py": "the Chinese of the status page",
    "agent/journal.py": "meanings of events, for the page docs/events.md",
}
# What is not told either, by the name it stands under, and why.
UNTOLD_NAMES = {
    "agent/commissioning.py": ({"_PAGE"}, "a report that is signed is the same everywhere"),
    "agent/dump.py": ({"_WORDS", "_NOT_PASSED_ON"}, "a support bundle is read elsewhere"),
    "agent/report_page.py": ({"_PAGE", "_SIGNED"}, "HTML"),
    "agent/demo_broker.py": ({"_MOSQUITTO"}, "settings of a program"),
    "agent/export.py": ({"README_TEXT", "RECIPE"}, "an exported bundle is the same everywhere"),
    "agent/explain.py": ({"SERIAL"}, "a name in JSON"),
    "agent/explain_text.py": ({"_PROTOCOLS"}, "names of protocols"),
    "agent/simulate_iec62056_21.py": ({"_USUAL", "_OTHER"}, "units"),
    "agent/cli_audit.py": (
        {"_KEY_HELP", "_WITNESS_HELP", "_AUTHORITY_HELP", "_OUTSIDE_HELP"},
        "help: taken from the command line",
    ),
    "agent/cli_key.py": ({"_SHEET"}, "help: taken from the command line"),
    "config/broken.py": ({"_WORDS"}, "patterns of another program's words"),
    "config/iec62056_21_units.py": ({"_TABLE"}, "units"),
    "config/opcua_units.py": ({"_TABLE", "_OURS"}, "units"),
    "config/mbus.py": ({"UNITS"}, "units"),
    "config/protocols.py": ({"PROTOCOLS", "_MODBUS"}, "names of protocols"),
    "config/typed.py": ({"EXAMPLES"}, "what is written in YAML"),
    "drivers/iec62056_21_words.py": ({"_TOKENS"}, "patterns"),
    "drivers/modbus.py": ({"OBJECTS"}, "names that are looked up"),
}
# Single texts, and why.
UNTOLD_TEXTS = {
    "A sealed record, format version {}; its meaning stands in record.md": "the schema of records is the same everywhere",
    "the site file names another serial number": "it is sealed",
    "import iotcore; iotcore.Broker(config_path={}).run_forever()": "a program",
    "Disconnect with will message": "a name of MQTT",
    " in response to OpenSecureChannelRequest": "a name of OPC UA",
    "    model: generic-opcua": "YAML",
    "{node: 'nsu=http://plant.example/meters;s=Press1.Energy'}": "YAML",
    **dict.fromkeys(
        ("gateway records time_from time_to key keys confirmed fast checkpoint checkpoints outside starts crashes with_x",),
        "names in JSON",
    ),
    "n >= ? AND n < ? ORDER BY n ": "SQL",
    "meterseal receipt v1\n{}\n{}\n{}\n": "it is signed",
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'": "a header",
    "This page can only be read.": "for a program that asks in a way no browser does",
    "This is no address that can be read.": "for a program that asks in a way no browser does",
    "Open this page under the gateway's address or its own name.": "for a program that asks in a way no browser does",
    "it cannot be answered any more": "it ends a connection of the status page",
    "nothing was asked": "it ends a connection of the status page",
    "text/plain; charset=utf-8": "a header",
    "text/html; charset=utf-8": "a header",
    "text/css; charset=utf-8": "a header",
    "state bad": "HTML",
    "<!doctype html>": "HTML",
    "width=device-width, initial-scale=1": "HTML",
    "small screen": "HTML",
    "GET, HEAD": "a header",
    '<table class="meters"><tr>': "HTML",
    "n >= ? AND n < ? AND kind IN ({})": "SQL",
    **dict.fromkeys(("    link: {}", ", index: {}", "      - quantity: {}", "        at: {node: {}, type: {}{}}"), "YAML"),
    **dict.fromkeys(("        scale: {}{}", ", security: {}", ", scale: {}", "serial: {}", 'tcp: "{}"', ", framing: {}"), "YAML"),
    **dict.fromkeys((", baud: {}, format: {}", "mqtt:\n  - host: 127.0.0.1\n    port: {}\n", "gateways: {}"), "YAML"),
    **dict.fromkeys((", serial: {}", "gateway: {}", ", baud: {}, format: 8N1", ", points: {}", "tcp: {}"), "YAML"),
    "serial: {}, baud: {}, format: 8N1": "YAML",
    **dict.fromkeys(("file:{}?mode=ro", "urn:{}:meterseal:{}", "http://{}/", "urn:unknown-namespace-{}"), "an address"),
    **dict.fromkeys(("meterseal {}", "$ meterseal {}"), "a name, and a command as it is typed"),
    "meterseal {} v1\n{}\n{}\n{}\n": "it is signed",
    "old {}\n{}\n{}": "it is sent to a witness",
    "{} answers": "it is told to the journal",
    "status {}": "a number of RFC 3161",
    **dict.fromkeys(("drivers.{}_words", "listen.{}", "temperature.{}", "wave {}", "voltage {}"), "a name in the program"),
    **dict.fromkeys(("connect {}", "serial {}"), "the name of a thread"),
    "{} measures {}, {} {}": "a note to the program: the driver that takes it says why itself",
    **dict.fromkeys(("{}modbus", "{}opcua"), "names of protocols"),
    **dict.fromkeys(
        ("bcd{}{}{}", "bcd{}{}", "digits{}{}", "hex{}", "ascii{}le", "digits{}le", "bcd{}le"), "names of types in YAML"
    ),
    **dict.fromkeys(("maker {}", "type {}"), "names of what a model file can say"),
    **dict.fromkeys(("KEY", "SIGNATURE", "UNSIGNED"), "names of classes of findings, as in JSON"),
    "{} min": "a unit",
}
# Calls whose strings are patterns, statements or notes to the program itself.
_NOT_TOLD = {
    *("re.compile", "re.search", "re.match", "re.fullmatch", "re.findall", "re.sub", "re.finditer", "TypeVar", "cast"),
    *("Field", "AssertionError", "Literal", "click.option", "click.argument", "click.command", "click.group"),
}
_METHODS = {
    *("execute", "executemany", "executescript", "partition", "split", "removeprefix", "removesuffix", "startswith"),
    *("endswith", "replace", "find", "index", "count"),
}


def sources() -> list[Path]:
    """The program's own modules."""
    return [path for name in ("agent", "config", "drivers") for path in sorted((ROOT / name).glob("*.py"))]


def marked(tree: ast.AST) -> Iterator[str]:
    """All messages in a module that are marked."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MARKS and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def unmarked(path: Path) -> Iterator[tuple[int, str]]:
    """Prose in a module that no mark puts into the reader's language: line and text."""
    tree = ast.parse(path.read_text("utf-8"))
    untold = UNTOLD_NAMES.get(str(path.relative_to(ROOT)), (set(), ""))[0]
    above = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        text = _text(node)
        if (
            text
            and text not in UNTOLD_TEXTS
            and _is_prose(node, text, above)
            and not _SQL.match(text)
            and not _is_no_message(node, above, untold)
        ):
            yield node.lineno, text  # type: ignore[attr-defined]  # constants and f-strings have a place


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return ""


def _is_prose(node: ast.AST, text: str, above: dict[ast.AST, ast.AST]) -> bool:
    """Two words side by side, one word beside what is put in, or the head of a table's column among others."""
    if isinstance(node, ast.JoinedStr):
        return bool(_PROSE.search(text) or _A_WORD.search(text.replace("{}", "")))
    parent = above.get(node)
    heads = [_text(each) for each in parent.elts] if isinstance(parent, ast.Tuple) else []
    return bool(_PROSE.search(text)) or (
        bool(_A_HEAD.fullmatch(text)) and sum(bool(_A_HEAD.fullmatch(each)) for each in heads) > 1
    )


def _is_no_message(node: ast.AST, above: dict[ast.AST, ast.AST], untold: set[str]) -> bool:
    while node in above:
        parent = above[node]
        if isinstance(parent, ast.Assign | ast.AnnAssign) and untold & {
            each.id for each in ast.walk(parent) if isinstance(each, ast.Name)
        }:
            return True
        if isinstance(parent, ast.Call) and (_is_mark(parent, node) or ast.unparse(parent.func) in _NOT_TOLD):
            return True
        if isinstance(parent, ast.Call) and isinstance(parent.func, ast.Attribute) and parent.func.attr in _METHODS:
            return True
        if isinstance(parent, ast.JoinedStr | ast.Compare) or (isinstance(parent, ast.Expr) and isinstance(node, ast.Constant)):
            return True  # a part of an f-string that is looked at whole; what is compared; a docstring
        if isinstance(parent, ast.Subscript) and node is parent.slice and isinstance(node, ast.Constant):
            return True
        if isinstance(parent, ast.Dict) and node in parent.keys:
            return True
        if isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node in parent.decorator_list:
            return True  # help texts: they are taken from the command line itself
        node = parent
    return False


def _is_mark(call: ast.Call, argument: ast.AST) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id in MARKS and bool(call.args) and argument is call.args[0]


def texts_of_help() -> list[str]:
    """All help texts of the command line."""
    from agent.cli import main
    from agent.cli_program import help_texts

    main.speak(ENGLISH)
    return [text for _, _, text in help_texts(main)]


def fault_texts() -> Iterator[str]:
    """All texts of the registry of faults."""
    from agent.faults import FAULTS, GROUPS

    yield from GROUPS.values()
    for fault in FAULTS.values():
        yield from (fault.title, fault.first, fault.symptom, *fault.causes, fault.measure)


def of_click() -> Iterator[str]:
    """What click says itself when a command line is wrong, and around the help."""
    for module in (click.core, click.decorators, click.exceptions, click.parser, click.types, click.formatting, click.termui):
        yield from marked(ast.parse(inspect.getsource(module)))


def messages() -> list[str]:
    """All that the program says to a person, in English, in the order of the alphabet."""
    found = {text for path in sources() for text in marked(ast.parse(path.read_text("utf-8")))}
    found |= set(texts_of_help()) | set(fault_texts()) | set(of_click())
    return sorted(found - {""})


def catalog() -> Catalog:
    """The catalog as it stands in the .po."""
    with PO.open("rb") as file:
        return read_po(file, locale=CHINESE, domain=DOMAIN)


def updated() -> Catalog:
    """The catalog with all messages there are: what was translated before stays, what is not said any more goes."""
    old = catalog() if PO.exists() else Catalog(locale=CHINESE)
    new = Catalog(locale=CHINESE, domain=DOMAIN, fuzzy=False, header_comment="# What meterseal says, in Chinese.")
    for text in messages():
        known = old.get(text)
        new.add(text, known.string if known else "")
    return new


def compile_catalog(made: Catalog) -> None:
    """Writes the .mo beside the .po; the same bytes for the same messages."""
    made.creation_date = made.revision_date = datetime(2026, 1, 1, tzinfo=UTC)
    with PO.with_suffix(".mo").open("wb") as file:
        write_mo(file, made)


def update() -> list[str]:
    """Writes .po and .mo; what is not translated yet."""
    made = updated()
    PO.parent.mkdir(parents=True, exist_ok=True)
    written = io.BytesIO()
    write_po(written, made, width=0, sort_output=True)
    kept = [line for line in written.getvalue().splitlines(keepends=True) if not line.startswith(_CHANGING)]
    PO.write_bytes(b"".join(kept))
    compile_catalog(made)
    return [str(message.id) for message in made if message.id and not message.string]


if __name__ == "__main__":
    missing = update()
    for each in missing:
        print(f"not translated yet: {each!r}")
    print(f"{PO.relative_to(ROOT)}: {len(missing)} messages without a translation")
    sys.exit(bool(missing))
