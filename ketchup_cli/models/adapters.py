"""Small trainable parts of a frozen teacher, without effect until they have learnt something."""

from __future__ import annotations

import importlib.util
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, final

import torch
from torch import Tensor, nn

from ketchup_cli.errors import ModelError
from ketchup_cli.models.reduction import spread
from ketchup_cli.signals import TeacherPart

if TYPE_CHECKING:
    from ketchup_cli.models.policy import Policy
    from ketchup_cli.signals import Batch

TARGETS = (
    ("q_proj", "v_proj"),
    ("q", "v"),
    ("query", "value"),
    ("c_attn",),
    ("qkv_proj",),
    ("query_key_value",),
)
"""What the supported families call the layers that make queries and values, alone or together."""

LORA_SCALE = 2
"""What the product of the two matrices is multiplied by: twice as much as 1, as is usual."""

Head = Callable[[Tensor], Tensor]
"""From states `[..., H]` to float32 logits `[..., V]`."""


class States(Protocol):
    """A teacher that can say what its output layer reads: a live one, or a cache of its states."""

    def states(self, batch: Batch) -> tuple[Tensor, Head]:
        """Return the last states [N, H] at the batch's real tokens, and the head that reads them."""


@final
class LiveStates:
    """The states of a model that is at hand; no gradient reaches it."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    @torch.no_grad()
    def states(self, batch: Batch) -> tuple[Tensor, Head]:
        """Return the last states [N, H] at the batch's real tokens, and the head that reads them."""
        places_N = batch.mask_BT.flatten().nonzero()[:, 0]
        return self._policy.hidden(batch).flatten(0, 1)[places_N], self._policy.head


class Adapter(ABC):
    """Logits of a teacher with its trainable part.

    Invariant: only the weights of `module` that ask for a gradient ever change, and the teacher
    is in eval mode, for noise in what is learnt from would be learnt too.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    @abstractmethod
    def logits(self, batch: Batch) -> Tensor:
        """Return float32 logits [B, T, V]; gradients flow into the part; zeros may stand on padding."""

    @abstractmethod
    def plain(self) -> AbstractContextManager[None]:
        """Return a context in which the teacher is what it was before its part."""

    def size(self) -> int:
        """Return how many numbers are trained."""
        return sum(weight.numel() for weight in self.module.parameters() if weight.requires_grad)


def check_part(part: TeacherPart) -> None:
    """Refuse a part for which a package is missing.

    Raises:
        ModelError: low-rank matrices are asked for, and `peft` is not installed.
    """
    if part.kind == "lora" and importlib.util.find_spec("peft") is None:
        raise ModelError(
            "low-rank matrices in a teacher take the package `peft`, which is not installed",
            hint="pip install 'ketchup-kd[lora]', or --set objective.module=head",
        )


def attach(policy: Policy, part: TeacherPart, *, seed: int) -> Adapter:
    """Freeze a policy and give it its trainable part; the logits stay what they were to the bit.

    Args:
        policy: the teacher, changed in place.
        part: what is to learn.
        seed: of the numbers the part starts from.

    Raises:
        ModelError: `peft` is missing, or no layer of the model has a known name.
    """
    check_part(part)
    policy.module.requires_grad_(False)
    policy.module.eval()
    if part.kind == "lora":
        return LoraAdapter(policy, rank=part.rank, seed=seed)
    if part.kind == "full":
        return WholeAdapter(policy)
    width = policy.model.get_output_embeddings().weight.shape[1]
    network = HeadNetwork(width, policy.vocabulary, rank=part.rank, seed=seed)
    return HeadAdapter(LiveStates(policy), network.to(policy.device))


@final
class LoraAdapter(Adapter):
    """Low-rank matrices beside the layers that make queries and values.

        W x + 2 B A x,   B = 0 at the start

    Source: Hu et al. 2021, arXiv 2106.09685.
    """

    def __init__(self, policy: Policy, *, rank: int, seed: int) -> None:
        """Insert the matrices into the policy's model.

        Raises:
            ModelError: no layer of the model has a known name.
        """
        from peft import LoraConfig, inject_adapter_in_model

        targets = _targets(policy.model)
        config = LoraConfig(
            r=rank,
            lora_alpha=LORA_SCALE * rank,
            lora_dropout=0.0,
            target_modules=list(targets),
            # GPT-2 keeps its matrices the other way round
            fan_in_fan_out=targets == ("c_attn",),
        )
        inject_adapter_in_model(config, policy.model)
        policy.module.eval()
        super().__init__(policy.model)
        self._policy = policy
        self._start(seed)

    @torch.no_grad()
    def _start(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.module.named_parameters():
            if ".lora_A." in name:
                bound = 1 / math.sqrt(weight.shape[1])
                weight.copy_(_uniform(weight.shape, bound, generator))

    def logits(self, batch: Batch) -> Tensor:
        """Return float32 logits [B, T, V]; gradients flow into the matrices."""
        return self._policy.head(self._policy.hidden(batch))

    @contextmanager
    def plain(self) -> Iterator[None]:
        """Leave the matrices out."""
        layers = layers_with_matrices(self.module)
        for layer in layers:
            # not `enable_adapters`: that would take the gradient from the weights for good
            layer._disable_adapters = True
        try:
            yield
        finally:
            for layer in layers:
                layer._disable_adapters = False


def layers_with_matrices(model: nn.Module) -> list[Any]:
    """Return the layers of a model that have low-rank matrices beside them."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [layer for layer in model.modules() if isinstance(layer, BaseTunerLayer)]


def _targets(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the layers that get matrices."""
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    for targets in TARGETS:
        if names >= set(targets):
            return targets
    known = ", ".join("/".join(targets) for targets in TARGETS)
    raise ModelError(
        f"`{type(model).__name__}` has no attention layers of a known name ({known})",
        hint="--set objective.module=head",
    )


@final
class HeadNetwork(nn.Module):
    """What a head adapter adds to the logits: U relu(D h), U = 0 at the start.

    Source: Rao et al. 2022, arXiv 2205.15308, whose adapter has this shape.
    """

    def __init__(self, width: int, vocabulary: int, *, rank: int, seed: int) -> None:
        super().__init__()
        generator, bound = torch.Generator().manual_seed(seed), 1 / math.sqrt(width)
        self.down_RH = nn.Parameter(_uniform((rank, width), bound, generator))
        self.down_R = nn.Parameter(_uniform((rank,), bound, generator))
        self.up_VR = nn.Parameter(torch.zeros(vocabulary, rank))
        self.up_V = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, states: Tensor) -> Tensor:
        """Return what is added to the logits of states `[..., H]`, computed in float32."""
        with torch.autocast(states.device.type, enabled=False):
            inner = nn.functional.linear(states.float(), self.down_RH, self.down_R).relu()
            return nn.functional.linear(inner, self.up_VR, self.up_V)


def _uniform(shape: Sequence[int], bound: float, generator: torch.Generator) -> Tensor:
    """Return numbers from -bound to bound: drawn by us, whatever was drawn before."""
    return bound * (2 * torch.rand(*shape, generator=generator) - 1)


@final
class HeadAdapter(Adapter):
    """A small network from the last states to the logits; the model itself is only read.

    Hence kept states serve as well as a live model.
    Example: `HeadAdapter(cached_teacher, HeadNetwork(512, 32100, rank=64, seed=0))`.
    """

    def __init__(self, source: States, network: HeadNetwork) -> None:
        super().__init__(network)
        self._source = source
        self._network = network

    def logits(self, batch: Batch) -> Tensor:
        """Return float32 logits [B, T, V], zeros on padding; gradients flow into the network."""
        states_NH, head = self._source.states(batch)
        with torch.no_grad():
            plain_NV = head(states_NH)
        # in place: a sum of three tensors of this size would be the largest thing of the update
        own_NV = self._network(states_NH).add_(plain_NV)
        places_N = batch.mask_BT.flatten().nonzero()[:, 0]
        return spread(own_NV, places_N, batch.tokens_BT.shape)

    def heads(self, batch: Batch) -> tuple[Tensor, Head, Head]:
        """Return the states [N, H] at real tokens, the head as it came, and the head with its part."""
        states_NH, plain = self._source.states(batch)
        return states_NH, plain, lambda states: self._network(states) + plain(states)

    def plain(self) -> AbstractContextManager[None]:
        """Return a context that changes nothing: the model never knew its part."""
        return nullcontext()


@final
class WholeAdapter(Adapter):
    """The whole teacher learns; what it was stays in the main memory."""

    def __init__(self, policy: Policy) -> None:
        # positions that a family computes anew at every loading are not saved, so they must not learn
        fixed = frozenset(getattr(policy.model, "_keys_to_ignore_on_save", None) or ())
        for name, weight in policy.model.named_parameters():
            weight.requires_grad_(name not in fixed)
        super().__init__(policy.model)
        self._policy = policy
        self._before = {
            name: weight.detach().to("cpu", copy=True)
            for name, weight in policy.model.named_parameters()
        }

    def logits(self, batch: Batch) -> Tensor:
        """Return float32 logits [B, T, V]; gradients flow into every weight."""
        return self._policy.head(self._policy.hidden(batch))

    @contextmanager
    def plain(self) -> Iterator[None]:
        """Put the weights of the beginning in place of those that learnt."""
        now = self._swapped(self._before)
        try:
            yield
        finally:
            self._swapped(now)

    @torch.no_grad()
    def _swapped(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Put `weights` in and return those that were there."""
        there: dict[str, Tensor] = {}
        for name, weight in self.module.named_parameters():
            there[name] = weight.detach().clone()
            weight.copy_(weights[name])
        return there
