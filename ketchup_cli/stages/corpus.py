"""Import text into a corpus artifact: one JSON Lines file per split, and a report.

Inputs by role:
    `<split>`                          one file of any format that holds prompt and references
    `<split>.prompt`, `<split>.reference`, `<split>.reference-2`, ...   Moses lines side by side
    `dataset`                          a folder that `datasets` can load, all its splits
    none                               `spec.dataset` names a data set on the hub
"""

import re
from collections.abc import Mapping
from typing import Any

from ketchup_cli.corpora.hub import parts, split_name
from ketchup_cli.corpora.imports import Source, Tally, read_examples
from ketchup_cli.corpora.readers import format_of
from ketchup_cli.corpora.splits import split_order
from ketchup_cli.corpora.template import PROMPT, Template
from ketchup_cli.errors import SpecError
from ketchup_cli.reporting import Reporter
from ketchup_cli.specs import CorpusSpec
from ketchup_cli.store.build import Build
from ketchup_cli.store.find import Input

DATASET = "dataset"
_SPLIT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_HINT = "ketchup corpus --train train.jsonl --dev dev.jsonl --test test.jsonl"


def plan(spec: CorpusSpec, inputs: Mapping[str, Input]) -> tuple[tuple[str, str], ...]:
    """Return the plan: where each split comes from, and which fields make an example.

    Raises:
        SpecError: roles, formats, template or field names that make no sense.
    """
    template = Template.of(spec)
    lines: list[tuple[str, str]] = []
    if not inputs:
        lines.append((DATASET, _hub_name(spec)))
    elif DATASET in inputs:
        lines.append((DATASET, "all splits of the folder"))
    else:
        lines += [(source.split, _files_told(source)) for source in sources(spec, inputs)]
    fields = ", ".join(template.prompt_fields)
    plain = spec.template == f"{{{PROMPT}}}"
    lines.append(("prompt", fields if plain else f"{spec.template!r} from {fields}"))
    lines.append(("references", ", ".join(template.reference_fields)))
    if template.document_field:
        lines.append(("documents", template.document_field))
    lines.append(("bad rows", spec.bad_rows))
    return tuple(lines)


def run(
    spec: CorpusSpec, inputs: Mapping[str, Input], build: Build, reporter: Reporter
) -> dict[str, Any]:
    """Write `<split>.jsonl` for every split, and `report.json`.

    Returns:
        Counts per split, and what the splits share.

    Raises:
        SpecError: roles, formats, template or fields that make no sense.
        DataError: a row that cannot be used, or a split without any.
    """
    tallies: dict[str, Tally] = {}
    found = sources(spec, inputs)
    with reporter.progress("import", total=len(found), unit="splits") as progress:
        for source in found:
            tally = tallies[source.split] = Tally()
            build.write_rows(f"{source.split}.jsonl", read_examples(source, spec, tally))
            progress.advance()
            reporter.note(source.split, _told(tally))
    shared = shared_prompts(tallies)
    for warning in shared:
        reporter.note("warning", _shared_text(warning))
    report = {
        "languages": list(spec.languages),
        "splits": {split: tally.report() for split, tally in tallies.items()},
        "shared_prompts": shared,
        "warnings": [_shared_text(warning) for warning in shared],
    }
    build.write_json("report.json", report)
    return {
        "examples": {split: tally.examples for split, tally in tallies.items()},
        "skipped": sum(tally.skipped.total() for tally in tallies.values()),
        "shared_prompts": sum(warning["examples"] for warning in shared),
    }


def sources(spec: CorpusSpec, inputs: Mapping[str, Input]) -> tuple[Source, ...]:
    """Return where each split comes from, train, dev and test first.

    Raises:
        SpecError: no input, roles that do not go together, or a name no split can have.
    """
    if DATASET in inputs or not inputs:
        return _dataset_sources(spec, inputs)
    if spec.format == "datasets":
        raise SpecError(
            "format `datasets` takes a folder or a name, not files", hint="--dataset FOLDER"
        )
    roles: dict[str, list[str]] = {}
    for role in inputs:
        roles.setdefault(role.partition(".")[0], []).append(role)
    return tuple(
        _file_source(spec, split, {role: inputs[role] for role in roles[split]})
        for split in split_order(roles)
    )


def _dataset_sources(spec: CorpusSpec, inputs: Mapping[str, Input]) -> tuple[Source, ...]:
    if len(inputs) > 1:
        raise SpecError("a data set brings its own splits; give it alone", hint=_HINT)
    folder = inputs[DATASET].path if inputs else None
    name = "" if inputs else _hub_name(spec)
    names = {split_name(part): part for part in parts(name, folder=folder)}
    return tuple(
        Source(
            split=_checked(split),
            format="datasets",
            files=(folder,) if folder else (),
            dataset=name,
            part=names[split],
        )
        for split in split_order(names)
    )


def _hub_name(spec: CorpusSpec) -> str:
    if not spec.dataset:
        raise SpecError("nothing to import", hint=_HINT)
    return spec.dataset


def _file_source(spec: CorpusSpec, split: str, inputs: Mapping[str, Input]) -> Source:
    _checked(split)
    if set(inputs) == {split}:
        if spec.format == "moses":
            raise SpecError(
                f"format `moses` takes two files for `{split}`",
                hint=f"--{split} PROMPTS,REFERENCES",
            )
        path = inputs[split].path
        chosen = format_of(path) if spec.format == "auto" else spec.format
        return Source(split=split, format=chosen, files=(path,))
    return _moses_source(spec, split, inputs)


def _moses_source(spec: CorpusSpec, split: str, inputs: Mapping[str, Input]) -> Source:
    template = Template.of(spec)
    more = [f"{split}.reference-{n}" for n in range(2, len(template.reference_fields) + 1)]
    wanted = [f"{split}.prompt", f"{split}.reference", *more]
    if set(inputs) != set(wanted) or spec.format not in {"auto", "moses"}:
        raise SpecError(
            f"split `{split}` has the roles {', '.join(sorted(inputs))}; "
            f"line pairs need {', '.join(wanted)}",
            hint="one file per reference field; --set format=moses",
        )
    if len(template.prompt_fields) > 1:
        raise SpecError(
            "a line of prompts is one field; `template` names several",
            hint="--set template={prompt}",
        )
    return Source(split=split, format="moses", files=tuple(inputs[role].path for role in wanted))


def _checked(split: str) -> str:
    if not _SPLIT_NAME.fullmatch(split):
        raise SpecError(
            f"`{split}` cannot name a split", hint="letters, digits, `-` and `_`, as in dev-2"
        )
    return split


def shared_prompts(tallies: Mapping[str, Tally]) -> list[dict[str, Any]]:
    """Return for every two splits how many examples of the later have a prompt of the earlier."""
    names = list(tallies)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    found = []
    for first, second in pairs:
        prompts = tallies[first].prompts
        count = sum(n for key, n in tallies[second].prompts.items() if key in prompts)
        if count:
            of = tallies[second].examples
            found.append({"first": first, "second": second, "examples": count, "of": of})
    return found


def _shared_text(shared: Mapping[str, Any]) -> str:
    return (
        f"{shared['examples']} of {shared['of']} examples of `{shared['second']}` "
        f"have a prompt that is in `{shared['first']}` too"
    )


def _told(tally: Tally) -> str:
    text = f"{tally.examples} examples"
    if tally.skipped:
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(tally.skipped.items()))
        text += f"; skipped {counts}"
    return text


def _files_told(source: Source) -> str:
    return f"{source.format}, {sum(path.stat().st_size for path in source.files):,} bytes"
