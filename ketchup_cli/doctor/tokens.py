"""Tokenizers, and the ids that begin, end and pad a text: the same in teacher and student?"""

from __future__ import annotations

from ketchup_cli.doctor.result import Check, failed, passed, warned
from ketchup_cli.models.fingerprints import difference
from ketchup_cli.models.speech import Speech

TOKENIZERS, END, START, OTHERS = "tokenizers", "end token", "decoder start", "bos and pad"


def tokenizers(teacher: Speech, student: Speech) -> Check:
    """Hold the fingerprints of two tokenizers against each other: order, merges, rules."""
    found = difference(teacher.tokenizer, student.tokenizer)
    ours, theirs = teacher.fingerprint[7:15], student.fingerprint[7:15]
    size = len(teacher.tokenizer)
    if found is None:
        return passed(
            TOKENIZERS,
            f"fingerprint `{ours}` in both, {size:,} tokens",
            brief="tokenizers equal",
            figures={"fingerprint": ours, "tokens": size},
        )
    sizes = f"{size:,} and {len(student.tokenizer):,} tokens, {found.ids:,} ids with another token"
    return failed(
        TOKENIZERS,
        [f"fingerprints `{ours}` and `{theirs}`; first difference: {found.first}", sizes],
        "use a student of the teacher's family, or `ketchup seqkd`, which needs only text",
        figures={"teacher": ours, "student": theirs, "first": found.first, "ids": found.ids},
    )


def end_token(teacher: Speech, student: Speech) -> Check:
    """Compare what ends a text: where it differs, a student learns never to stop."""
    ours, theirs = teacher.token(teacher.eos), student.token(student.eos)
    figures = {"teacher": teacher.eos, "student": student.eos}
    shown = f"the teacher ends a text with {ours}, the student with {theirs}"
    for role, own in (("teacher", teacher), ("student", student)):
        if own.eos is None:
            remedy = f"set `eos_token` in the {role}'s tokenizer_config.json"
            return failed(END, f"the {role} has no end token", remedy, figures=figures)
    if teacher.eos != student.eos:
        token = teacher.tokenizer.convert_ids_to_tokens(teacher.eos)
        remedy = f"set `eos_token` to {token!r} in the student's tokenizer_config.json"
        return failed(END, shown, remedy, figures=figures)
    for role, own in (("teacher", teacher), ("student", student)):
        if own.ends and own.eos not in own.ends:
            says = ", ".join(own.token(id) for id in own.ends)
            return warned(
                END,
                f"the {role}'s tokenizer ends a text with {ours}, its generation_config.json with"
                f" {says}",
                f"set `eos_token_id` to {own.eos} in the {role}'s generation_config.json, or"
                " `eos_token` in its tokenizer_config.json",
                brief=f"eos {teacher.eos} = {student.eos}",
                figures=figures,
            )
    brief = f"eos {teacher.eos} = {student.eos}"
    return passed(END, f"{ours} in both", brief=brief, figures=figures)


def decoder_start(teacher: Speech, student: Speech) -> Check:
    """Compare what the decoders are given first; each model is fed its own."""
    figures = {"teacher": teacher.start, "student": student.start}
    if not (teacher.encoder_decoder or student.encoder_decoder):
        return passed(START, "decoder-only models begin with the prompt", figures=figures)
    for role, own in (("teacher", teacher), ("student", student)):
        if own.encoder_decoder and own.start is None:
            return failed(
                START,
                f"neither config.json nor generation_config.json of the {role} says its"
                " `decoder_start_token_id`",
                f"set `decoder_start_token_id` in the {role}'s generation_config.json"
                + (f" (the pad token {own.token(own.pad)} in T5)" if own.pad is not None else ""),
                figures=figures,
            )
    ours, theirs = teacher.token(teacher.start), student.token(student.start)
    if teacher.encoder_decoder == student.encoder_decoder and teacher.start != student.start:
        return warned(
            START,
            f"the teacher's decoder begins with {ours}, the student's with {theirs}",
            f"set `decoder_start_token_id` to {teacher.start} in the student's"
            " generation_config.json, unless it was trained so",
            figures=figures,
        )
    shown = f"{ours if teacher.encoder_decoder else theirs} in both"
    return passed(START, shown, figures=figures)


def bos_and_pad(teacher: Speech, student: Speech) -> Check:
    """Compare the two ids that masks and templates leave without effect where all is well."""
    figures = {
        f"{role}_{name}": getattr(own, name)
        for role, own in (("teacher", teacher), ("student", student))
        for name in ("bos", "pad")
    }
    told = [
        f"{name} {teacher.token(getattr(teacher, name))}"
        if getattr(teacher, name) == getattr(student, name)
        else f"{name} {teacher.token(getattr(teacher, name))} in the teacher,"
        f" {student.token(getattr(student, name))} in the student"
        for name in ("bos", "pad")
    ]
    if (teacher.bos, teacher.pad) == (student.bos, student.pad):
        return passed(OTHERS, "; ".join(told), figures=figures)
    return warned(
        OTHERS,
        ["; ".join(told), "masks say what is padding, and the check `template` compares prompts"],
        "copy `bos_token` and `pad_token` of the teacher's tokenizer_config.json to the student's",
        figures=figures,
    )
