"""From a folder to a policy and back; safetensors only, nothing fetched, no code run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from ketchup_cli.errors import MismatchError, ModelError, NonFiniteError, NotFound, SpecError
from ketchup_cli.models.fingerprints import difference
from ketchup_cli.models.policy import Policy, Precision
from ketchup_cli.models.speech import Speech, read_speech

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
    "hidden_dropout",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "resid_pdrop",
    "embd_pdrop",
    "attn_pdrop",
)
"""Every name the supported families give to dropout in their configs."""

LAYER_DROPS = ("encoder_layerdrop", "decoder_layerdrop", "layerdrop")
"""What they call leaving out whole layers."""

_FAR_SLOWER = 2.0
"""Times by which bfloat16 may be slower than float32 before it is said: noise stays below."""

_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    ImportError,
    SafetensorError,
    StrictDataclassError,
)
"""What transformers raises on a folder it cannot make sense of."""


def pick_device(device: str) -> torch.device:
    """Return the device of that name; `auto` is the first of cuda, mps and cpu there is.

    Args:
        device: `auto`, `cpu`, `mps`, `cuda`, or one of several: `cuda:1`.

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
    kind = device.partition(":")[0]
    if not there[kind]:
        raise SpecError(
            f"this machine has no {kind} device (torch {torch.__version__})",
            hint=f"leave out `device`, or install a build of torch for {kind}",
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
        device: as `pick_device` takes it.
        precision: `bfloat16` runs the layers under autocast.
        dropout: replaces every dropout of the config while the policy lives; no layer is left out
            as a whole then, for all processes of a run must use the same weights.

    Raises:
        NotFound: no config.json there.
        ModelError: weights that are not safetensors, or not all there; code beside the weights; an
            unknown family.
    """
    check_folder(folder)
    chosen = pick_device(device)
    with as_model_error(folder):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        replaced = {} if dropout is None else _override_dropout(config, dropout)
        family = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model, found = family.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    check_weights(folder, found)
    check_tokenizer(folder, tokenizer)
    model.to(chosen).eval()
    policy = Policy(model, tokenizer, precision=precision, replaced=replaced)
    policy.check_head()
    return policy


def precision_warnings(
    policy: Policy, *, seconds: Callable[[torch.dtype, torch.device], float] | None = None
) -> tuple[str, ...]:
    """Return a warning where the asked precision is far slower than float32 on this processor.

    A processor without instructions for bfloat16 computes it all the same, many times slower. It is
    measured and not looked up: one product of two matrices in each type.

    Args:
        policy: a loaded model.
        seconds: what one product takes in a type, on a device; measured here by default.
    """
    if policy.precision == "float32" or policy.device.type != "cpu":
        return ()
    measure = seconds or _product_seconds
    ratio = measure(torch.bfloat16, policy.device) / measure(torch.float32, policy.device)
    if ratio < _FAR_SLOWER:
        return ()
    return (
        f"matrix products in {policy.precision} take {ratio:.0f} times as long as in float32 on"
        " this processor; --set precision=float32 is faster here",
    )


def _product_seconds(dtype: torch.dtype, device: torch.device) -> float:
    """Return the shortest of five products of two [256, 256] matrices (CPU seconds)."""
    factor = torch.ones(256, 256, dtype=dtype, device=device)
    taken = []
    for _ in range(5):
        start = time.thread_time()
        factor @ factor
        taken.append(time.thread_time() - start)
    return min(taken)


def load_speech(folder: Path) -> Speech:
    """Return how the model of a folder speaks; its weights are not loaded.

    Raises:
        NotFound: no config.json there.
        ModelError: files that cannot be read, or no tokenizer among them.
    """
    check_folder(folder)
    with as_model_error(folder):
        found = read_speech(folder)
    check_tokenizer(folder, found.tokenizer)
    return found


@contextmanager
def as_model_error(folder: Path) -> Iterator[None]:
    """Turn what transformers raises on an unusable folder into one error with a remedy."""
    try:
        yield
    except _UNREADABLE as error:
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise ModelError(
            f"`{folder.name}` cannot be loaded: {reason}",
            hint="the folder must hold config.json, model.safetensors and tokenizer.json",
        ) from error


def check_weights(folder: Path, found: Mapping[str, Any]) -> None:
    """Refuse weights that transformers would replace by random numbers."""
    missing = sorted(found["missing_keys"])
    if missing:
        raise ModelError(
            f"`{folder.name}` lacks {len(missing)} weights, `{missing[0]}` among them",
            hint="copy or export the model again",
        )
    for name, stored, wanted in sorted(found["mismatched_keys"]):
        raise ModelError(
            f"`{folder.name}`: `{name}` has shape {list(stored)}; config.json says {list(wanted)}",
            hint="use the config.json the model was saved with",
        )


def check_tokenizer(folder: Path, tokenizer: Any) -> None:
    """Refuse a tokenizer that transformers made up because its files are not there."""
    names = sorted(set(tokenizer.vocab_files_names.values()))
    if names and not any((folder / name).is_file() for name in names):
        raise ModelError(
            f"`{folder.name}` holds no tokenizer ({' or '.join(names)})",
            hint="put its tokenizer.json beside the weights",
        )


def _override_dropout(config: Any, dropout: float) -> dict[str, Any]:
    """Set every dropout of a config and return the values they had."""
    wanted = dict.fromkeys(DROPOUTS, dropout) | dict.fromkeys(LAYER_DROPS, 0.0)
    replaced = {name: getattr(config, name) for name in wanted if hasattr(config, name)}
    for name in replaced:
        setattr(config, name, wanted[name])
    return replaced


def check_folder(folder: Path) -> dict[str, Any]:
    """Return config.json of a model folder that is safe to load.

    Raises:
        NotFound: there is none.
        ModelError: code or pickled weights where safetensors should be.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise NotFound(f"`{folder}` holds no config.json", hint="name a folder with a model")
    config = _read_config(path)
    if "model_type" not in config:
        raise ModelError(f"`{path}` does not say its `model_type`", hint="export the model again")
    scripts = sorted(item.name for item in folder.glob("*.py"))
    own = folder / "tokenizer_config.json"
    if scripts or "auto_map" in config or (own.is_file() and "auto_map" in _read_config(own)):
        raise ModelError(
            f"`{folder.name}` wants to run its own code ({', '.join(scripts) or 'auto_map'})",
            hint="use a model whose family is part of transformers",
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"`{folder.name}` holds no safetensors weights",
            hint="load it once where you trust it, and save it: `model.save_pretrained(folder)`",
        )
    return config


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"`{path}` is not JSON: {error}", hint="copy the model again") from None
    if not isinstance(config, dict):
        raise ModelError(f"`{path}` is not a table of settings", hint="copy the model again")
    return config


def save_policy(policy: Policy, folder: Path, *, dtype: str) -> None:
    """Write the model and its tokenizer into `folder`, as `from_pretrained` reads them.

    Raises:
        NonFiniteError: a weight is not finite, or too large for `dtype`.
    """
    model = policy.model
    weights = {name: _cast(name, value, DTYPES[dtype]) for name, value in weights_of(model).items()}
    shown = {name: getattr(model.config, name) for name in policy.replaced}
    try:
        for name, value in policy.replaced.items():
            setattr(model.config, name, value)
        model.save_pretrained(folder, state_dict=weights)
    finally:
        for name, value in shown.items():
            setattr(model.config, name, value)
    policy.tokenizer.save_pretrained(folder)


def _cast(name: str, value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if not value.is_floating_point():
        return value.detach().cpu()
    cast = value.detach().to("cpu", dtype)
    if not bool(cast.isfinite().all()):
        raise NonFiniteError(
            f"the weight `{name}` is not finite as {str(dtype).removeprefix('torch.')}",
            hint="--set save_dtype=float32",
        )
    return cast


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


def check_same_tokenizer(teacher: Policy, student: Policy) -> None:
    """Refuse two policies whose ids mean different text.

    Raises:
        MismatchError: with both fingerprints and the first difference.
    """
    found = difference(teacher.tokenizer, student.tokenizer)
    if found is None:
        return
    raise MismatchError(
        f"teacher and student tokenizers differ (`{teacher.fingerprint[7:15]}` and"
        f" `{student.fingerprint[7:15]}`; {found.first})",
        hint="use a student of the teacher's family, or `ketchup seqkd`, which needs only text",
    )


def quiet() -> None:
    """Keep transformers from writing on the terminal; ketchup says what it does itself."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
