"""A fault for a person: on a terminal, and on the page `docs/faults.md`. Pure but for `python -m agent.fault_text`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from agent.fault import Fault
from agent.faults import FAULTS, GROUPS
from config.language import CHINESE, ENGLISH, N_, _, speaking

PAGES = {ENGLISH: "faults.md", CHINESE: "faults.zh-CN.md"}
_ABOUT = N_("""\
Every message of the journal that tells of trouble has a field `code`, and every message on the command line ends with
one, such as `[MS-204]`. `meterseal fault MS-204` prints the same text as this page. Codes never change meaning.\
""")


def spoken_fault(fault: Fault) -> Fault:
    """The fault in the language that is spoken."""
    told = {name: _(getattr(fault, name)) for name in ("title", "first", "symptom", "measure")}
    return Fault(fault.code, causes=tuple(_(cause) for cause in fault.causes), **told)


def fault_text(fault: Fault) -> str:
    """A fault as `meterseal fault CODE` prints it."""
    fault = spoken_fault(fault)
    causes = [f"  {place}. {cause}" for place, cause in enumerate(fault.causes, 1)]
    return "\n".join(
        [
            f"{fault.code} {fault.title}",
            "",
            _("Check first: {first}", first=fault.first),
            "",
            _("What is seen: {symptom}", symptom=fault.symptom),
            "",
            _("Causes, the likeliest first:"),
            *causes,
            "",
            _("How to find out: {measure}", measure=fault.measure),
        ]
    )


def fault_list(faults: Mapping[str, Fault]) -> str:
    """All codes with their titles, by group."""
    lines: list[str] = []
    for group, about in GROUPS.items():
        lines += ["", f"{group} {_(about)}"] if lines else [f"{group} {_(about)}"]
        lines += [f"  {fault.code}  {_(fault.title)}" for fault in faults.values() if fault.code.startswith(group[:4])]
    return "\n".join(lines)


def fault_page(faults: Mapping[str, Fault]) -> str:
    """The page of all faults in Markdown, one section a code."""
    parts = [_("# Fault codes"), _(_ABOUT)]
    for group, about in GROUPS.items():
        mine = [spoken_fault(fault) for fault in faults.values() if fault.code.startswith(group[:4])]
        rows = "\n".join(f"| [{each.code}](#{_anchor(each)}) | {each.title} |" for each in mine)
        parts.append(f"## {group} {_(about)}\n\n| {_('code')} | {_('title')} |\n|---|---|\n{rows}")
        parts += [_section(each) for each in mine]
    return "\n\n".join(parts) + "\n"


def _section(fault: Fault) -> str:
    causes = "\n".join(f"{place}. {cause}" for place, cause in enumerate(fault.causes, 1))
    return _(
        "### {code} {title}\n"
        "\n**Check first:** {first}\n\n**What is seen:** {symptom}\n\n**Causes, the likeliest first:**\n\n{causes}\n\n"
        "**How to find out:** {measure}",
        code=fault.code,
        title=fault.title,
        first=fault.first,
        symptom=fault.symptom,
        causes=causes,
        measure=fault.measure,
    )


def _anchor(fault: Fault) -> str:
    """How GitHub and most viewers name the section's heading."""
    kept = "".join(letter for letter in f"{fault.code} {fault.title}".lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


def write_pages(docs: Path) -> None:
    """Writes the page in every language."""
    for language, name in PAGES.items():
        with speaking(language):
            (docs / name).write_text(fault_page(FAULTS), "utf-8")


if __name__ == "__main__":
    write_pages(Path(__file__).parents[1] / "docs")
