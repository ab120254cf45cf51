"""From a folder to a policy and back; safetensors only, nothing fetched, no code run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from ketchup_cli.errors import MismatchError, ModelError, NotFound, SpecError
from ketchup_cli.models.policy import Policy, Precision, tokenizer_parts

DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
DROPOUTS = (
    "dropout_rate",
    "dropout",
    "attention_dropout",
    "activation_dropout",
    "resid_pdrop",
    "embd_pdrop",
    "attn_pdrop",
)
"""Every name the supported families give to dropout in their configs."""


def pick_device(device: str) -> torch.device:
    """Return the device of that name; `auto` is the first of cuda, mps and cpu there is.

    Raises:
        SpecError: this machine does not have it.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        device = next(name for name, is_there in there.items() if is_there)
    if not there[device]:
        raise SpecError(
            f"this machine has no {device} device (torch {torch.__version__})",
            hint=f"leave out `device`, or install a build of torch for {device}",
        )
    return torch.device(device)


def load_policy(
    folder: Path,
    *,
    device: str = "auto",
    precision: Precision = "float32",
    dropout: float | None = None,
) -> Policy:
    """Load the model and the tokenizer of a folder, weights in float32, in eval mode.

    Args:
        folder: a folder as `save_pretrained` writes it.
        device: `auto`, `cpu`, `cuda` or `mps`.
        precision: `bfloat16` runs the layers under autocast.
        dropout: replaces every dropout of the config while the policy lives.

    Raises:
        NotFound: no config.json there.
        ModelError: weights that are not safetensors, code beside the weights, an unknown family.
    """
    config = check_folder(folder)
    overrides = {} if dropout is None else {n: dropout for n in DROPOUTS if n in config}
    family = AutoModelForSeq2SeqLM if config.get("is_encoder_decoder") else AutoModelForCausalLM
    try:
        model = family.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            **overrides,
        )
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(
            f"`{folder.name}` cannot be loaded: {first}",
            hint="the folder must hold config.json, model.safetensors and tokenizer.json",
        ) from error
    for name in overrides:
        model.config.__dict__[f"_file_{name}"] = config[name]
    model.to(pick_device(device)).eval()
    policy = Policy(model, tokenizer, precision=precision)
    policy.check_head()
    return policy


def check_folder(folder: Path) -> dict[str, Any]:
    """Return config.json of a model folder that is safe to load.

    Raises:
        NotFound: there is none.
        ModelError: code or pickled weights where safetensors should be.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise NotFound(f"`{folder}` holds no config.json", hint="name a folder with a model")
    config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict) or "model_type" not in config:
        raise ModelError(f"`{path}` does not say its `model_type`", hint="export the model again")
    scripts = sorted(item.name for item in folder.glob("*.py"))
    if "auto_map" in config or scripts:
        raise ModelError(
            f"`{folder.name}` wants to run its own code ({', '.join(scripts) or 'auto_map'})",
            hint="use a model whose family is part of transformers",
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"`{folder.name}` holds no safetensors weights",
            hint="load and save it once with `save_pretrained(..., safe_serialization=True)`",
        )
    return config


def save_policy(policy: Policy, folder: Path, *, dtype: str) -> None:
    """Write the model and its tokenizer into `folder`, as `from_pretrained` reads them."""
    save_weights(policy, folder, dtype=dtype, weights=weights_of(policy.model))


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights by name, one name for each: tied weights appear once."""
    seen: set[tuple[int, torch.Size]] = set()
    unique: dict[str, torch.Tensor] = {}
    for name, value in model.state_dict().items():
        key = (value.data_ptr(), value.shape)
        if key not in seen:
            seen.add(key)
            unique[name] = value
    return unique


def save_weights(
    policy: Policy, folder: Path, *, dtype: str, weights: Mapping[str, torch.Tensor]
) -> None:
    """Write the model with other weights of the same names and shapes."""
    model = policy.model
    kept = dict(model.config.__dict__)
    try:
        for name in [key for key in kept if key.startswith("_file_")]:
            value = model.config.__dict__.pop(name)
            model.config.__dict__[name.removeprefix("_file_")] = value
        cast = {
            name: tensor.detach().to("cpu", DTYPES[dtype]) if tensor.is_floating_point() else tensor
            for name, tensor in weights.items()
        }
        model.save_pretrained(folder, state_dict=cast)
    finally:
        model.config.__dict__.clear()
        model.config.__dict__.update(kept)
    policy.tokenizer.save_pretrained(folder)


def check_same_tokenizer(teacher: Policy, student: Policy) -> None:
    """Refuse two policies whose ids mean different text.

    Raises:
        MismatchError: with both fingerprints and the first difference.
    """
    if teacher.fingerprint == student.fingerprint:
        return
    raise MismatchError(
        f"teacher and student tokenizers differ (`{teacher.fingerprint[7:15]}` and"
        f" `{student.fingerprint[7:15]}`; {_first_difference(teacher, student)})",
        hint="use a student of the teacher's family, or `ketchup seqkd`, which needs only text",
    )


def _first_difference(teacher: Policy, student: Policy) -> str:
    ours = teacher.tokenizer.convert_ids_to_tokens(range(teacher.vocabulary))
    theirs = student.tokenizer.convert_ids_to_tokens(range(student.vocabulary))
    for index, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if one != other:
            return f"id {index} is {one!r} and {other!r}"
    if len(ours) != len(theirs):
        return f"{len(ours)} and {len(theirs)} tokens"
    one_parts, other_parts = (tokenizer_parts(item.tokenizer) for item in (teacher, student))
    changed = [key for key in one_parts if one_parts[key] != other_parts[key]]
    return f"the same tokens, but another {' and '.join(changed)}"


def quiet() -> None:
    """Keep transformers from writing on the terminal; ketchup says what it does itself."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
