"""What all of the command line has in common: the language it speaks, and the code that a wrong use ends with.

`--lang` decides the language, else METERSEAL_LANG, LC_ALL, LC_MESSAGES and LANG, in this order. Help texts are English where
they are written and put into the language that is spoken before anything is shown. What is asked for as JSON comes in
English: it is for programs.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import click

from agent.faults import with_code
from config.language import ENGLISH, _, speak, wanted

_AS_JSON = "--json"


class Program(click.Group):
    """The group of all verbs: speaks the reader's language, and tells a wrong use with its code."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._english: list[tuple[Any, str, str]] = []

    def main(self, args: Sequence[str] | None = None, **kwargs: Any) -> Any:  # type: ignore[override]  # click's has more names
        """Runs the program in the language that is asked for; as `click.Group.main`."""
        words = sys.argv[1:] if args is None else list(args)
        self.speak(ENGLISH if _AS_JSON in words else _given(words) or wanted(os.environ))
        return super().main(words, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As in click, but a wrong use ends with its code."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            raise _coded(error) from None

    def invoke(self, ctx: click.Context) -> Any:
        """As in click, but a wrong use ends with its code."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _coded(error) from None

    def speak(self, language: str) -> None:
        """From here on messages and help are in this language."""
        speak(language)
        if not self._english:
            self._english = list(help_texts(self))
        for holder, name, text in self._english:
            setattr(holder, name, _(text))


def _given(words: Sequence[str]) -> str:
    """What `--lang` says: before anything is parsed, so that also the help and what click says itself follow it."""
    return next((f"{word}={after}".split("=")[1] for word, after in pairwise([*words, ""]) if word.split("=")[0] == "--lang"), "")


def _coded(error: click.UsageError) -> click.UsageError:
    told = error.format_message()
    return error if "[MS-" in told else click.UsageError(with_code(told, "MS-901"), error.ctx)


def help_texts(command: click.Command) -> Iterator[tuple[Any, str, str]]:
    """All help texts of a command and what hangs on it, as they are written: who holds them, under which name."""
    for name in ("help", "short_help", "epilog"):
        if text := getattr(command, name):
            yield command, name, inspect.cleandoc(text)
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.help:
            yield parameter, "help", parameter.help
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from help_texts(each)


lang_option = click.option(
    "--lang",
    type=click.Choice(["en", "zh"]),
    expose_value=False,
    help="The language of messages; else METERSEAL_LANG, LC_ALL, LC_MESSAGES or LANG says it.",
)
