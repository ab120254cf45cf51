"""From the fields of a row to a prompt and its references."""

import shlex
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from ketchup_cli.corpora.rows import Problem, Reason, Row
from ketchup_cli.errors import SpecError
from ketchup_cli.spec import nearest, unknown
from ketchup_cli.specs import CorpusSpec

PROMPT = "prompt"
_ABSENT = object()


@final
@dataclass(frozen=True, slots=True)
class Texts:
    """A prompt and the texts people wrote for it."""

    prompt: str
    references: tuple[str, ...]
    document: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """Which fields make the prompt and the references, and the words around them.

    Example: `Template.of(CorpusSpec(prompt_field="src", template="translate: {prompt}"))`
    """

    pieces: tuple[tuple[str, str | None], ...]
    """Literal text and the field that follows it, in order."""
    prompt_field: str
    reference_fields: tuple[str, ...]
    max_characters: int
    document_field: str = ""

    @classmethod
    def of(cls, spec: CorpusSpec) -> "Template":
        """Return the template of a spec.

        Raises:
            SpecError: braces that do not pair, or no field between any.
        """
        fields = spec.reference_field
        names = (fields,) if isinstance(fields, str) else fields
        if not names:
            raise SpecError(
                "`reference_field` names no field", hint="--set reference_field=reference"
            )
        return cls(
            pieces=_parse(spec.template, prompt_field=spec.prompt_field),
            prompt_field=spec.prompt_field,
            reference_fields=names,
            max_characters=spec.max_characters,
            document_field=spec.document_field,
        )

    @property
    def prompt_fields(self) -> tuple[str, ...]:
        """The fields the prompt is made of."""
        return tuple(dict.fromkeys(field for _, field in self.pieces if field is not None))

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields a row must hold, by path."""
        document = (self.document_field,) if self.document_field else ()
        return self.prompt_fields + self.reference_fields + document

    @property
    def columns(self) -> tuple[str, ...]:
        """The top-level fields a row must hold."""
        wanted = self.fields
        return tuple(dict.fromkeys(name.partition(".")[0] for name in wanted)) + wanted

    def check_fields(self, row: Row, *, owner: str) -> None:
        """Refuse a field the row does not have.

        Raises:
            SpecError: with the nearest three names.
        """
        names = [str(key) for key in row.fields]
        for name in self.fields:
            if _look_up(row.fields, name) is _ABSENT:
                hint = self._remedy(name, (nearest(name, names, count=1) or names or ["NAME"])[0])
                raise unknown(f"a field of `{owner}`", name, names, hint=hint)

    def _remedy(self, name: str, instead: str) -> str:
        if name in self.reference_fields:
            return f"--set {shlex.quote(f'reference_field={instead}')}"
        if name == self.document_field:
            return f"--set {shlex.quote(f'document_field={instead}')}"
        if name == self.prompt_field:
            return f"--set {shlex.quote(f'prompt_field={instead}')}"
        return f"write `{{{instead}}}` in `template`"

    def apply(self, row: Row) -> Texts | Problem:
        """Return the texts of a row, or why it has none."""
        prompt = self._prompt(row)
        if isinstance(prompt, Problem):
            return prompt
        references: list[str] = []
        for name in self.reference_fields:
            found = self._references(row, name)
            if isinstance(found, Problem):
                return found
            references += found
        document = self._document(row)
        if isinstance(document, Problem):
            return document
        return Texts(prompt, tuple(references), document)

    def _prompt(self, row: Row) -> str | Problem:
        values: dict[str, str] = {}
        for name in self.prompt_fields:
            value = _look_up(row.fields, name)
            if not isinstance(value, str):
                return _not_text(row, name, value)
            values[name] = value
        blank = not values.get(self.prompt_field, "x").strip()
        if blank or not any(value.strip() for value in values.values()):
            return _problem(row, "empty prompt", f"field `{self.prompt_fields[0]}`")
        text = "".join(
            literal + (values[field] if field is not None else "") for literal, field in self.pieces
        )
        return self._short(row, text, "the prompt")

    def _references(self, row: Row, name: str) -> list[str] | Problem:
        value = _look_up(row.fields, name)
        several = list(value) if isinstance(value, (list, tuple)) else [value]
        texts: list[str] = []
        for item in several:
            if not isinstance(item, str):
                return _not_text(row, name, item)
            if not item.strip():
                return _problem(row, "empty reference", f"field `{name}`")
            text = self._short(row, item, f"field `{name}`")
            if isinstance(text, Problem):
                return text
            texts.append(text)
        return texts or _problem(row, "empty reference", f"field `{name}` is an empty list")

    def _document(self, row: Row) -> str | Problem:
        if not self.document_field:
            return ""
        value = _look_up(row.fields, self.document_field)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            return _not_text(row, self.document_field, value)
        return self._short(row, value.strip(), f"field `{self.document_field}`")

    def _short(self, row: Row, text: str, what: str) -> str | Problem:
        if len(text) <= self.max_characters:
            return text
        detail = f"{what} has {len(text)} characters; at most {self.max_characters}"
        return _problem(row, "text too long", detail)


def _parse(template: str, *, prompt_field: str) -> tuple[tuple[str, str | None], ...]:
    hint = "--set template='translate: {prompt}'"
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise SpecError(f"`template` cannot be read: {error}", hint=hint) from None
    pieces: list[tuple[str, str | None]] = []
    for literal, field, form, conversion in parsed:
        if form or conversion:
            raise SpecError(f"`{{{field}}}` of `template` holds more than a name", hint=hint)
        if field is not None and not field:
            raise SpecError("`template` holds `{}` without a name", hint=hint)
        pieces.append((literal, prompt_field if field == PROMPT else field))
    if all(field is None for _, field in pieces):
        raise SpecError("`template` names no field", hint=hint)
    return tuple(pieces)


def _look_up(fields: Mapping[str, object], name: str) -> object:
    """Return a field by its name, or by a path of names when no field is called so."""
    if name in fields:
        return fields[name]
    value: object = fields
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return _ABSENT
        value = value[part]
    return value


def _not_text(row: Row, name: str, value: object) -> Problem:
    if value is _ABSENT:
        return _problem(row, "field missing", f"no field `{name}`")
    what = "null" if value is None else f"a {type(value).__name__}"
    return _problem(row, "field not text", f"field `{name}` is {what}")


def _problem(row: Row, reason: Reason, detail: str) -> Problem:
    return Problem(row.place, reason, detail)
