"""Every error ketchup raises on purpose, with the exit code it ends a command with.

KetchupError            1   anything below, caught once at the edge of the command line
├─ SpecError            2   a flag, a setting or a name that makes no sense
├─ DataError            1   rows that cannot be used: not JSON, a field missing, nothing left
├─ ArtifactError        1   something on disk
│  ├─ NotFound          2   no artifact, file or model of that name
│  ├─ Damaged           3   content differs from its manifest
│  ├─ Busy              6   another process holds the lock
│  ├─ TooNew            1   written by a later version
│  └─ NoSpace          28   the disk is full, or would be
├─ MismatchError        3   models, tokenizers or caches that do not belong together
├─ CheckFailed          3   a check before the work, one of those of `ketchup doctor`
├─ ShapeError           1   a tensor of another shape than its name says
├─ ModelError           1   a model that cannot be loaded or used
├─ TrackerError         1   a tracker that cannot be started
├─ RewardError          1   a reward that cannot be used, or that failed where it must not
├─ JudgeError           1   a judge that cannot be asked
│  ├─ JudgeRefused      4   the key, the quota or the model is refused
│  ├─ JudgeUnreachable 75   nobody answers; run again later
│  ├─ OverBudget        8   the budget is reached; the same command goes on with a larger one
│  └─ Unjudged          5   too many answers could not be used
└─ NonFiniteError       7   NaN or infinity where a number was needed
"""

from typing import ClassVar


class KetchupError(Exception):
    """Base of all deliberate errors: what is wrong, and one command or edit that helps.

    Invariant: `message` is lower case without a full stop; literals stand in backticks.
    Example: `raise SpecError("`k` is 0; it must be at least 1", hint="ketchup distill --k 4")`
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SpecError(KetchupError):
    """Raised when a flag, a setting or a name makes no sense."""

    exit_code = 2


class DataError(KetchupError):
    """Raised when rows cannot be used; the message names file and line, or the counts."""


class ArtifactError(KetchupError):
    """Raised when something on disk is not as it should be."""


class NotFound(ArtifactError):
    """Raised when no artifact, file or model of that name exists."""

    exit_code = 2


class Damaged(ArtifactError):
    """Raised when the content of an artifact differs from its manifest."""

    exit_code = 3


class Busy(ArtifactError):
    """Raised when another process builds the same artifact."""

    exit_code = 6


class TooNew(ArtifactError):
    """Raised when an artifact was written by a later version of ketchup."""


class NoSpace(ArtifactError):
    """Raised when the disk is full, or would be before the work ends."""

    exit_code = 28


class MismatchError(KetchupError):
    """Raised when models, tokenizers or caches do not belong together."""

    exit_code = 3


class CheckFailed(KetchupError):
    """Raised when a check before the work finds a fault; the message holds its evidence."""

    exit_code = 3


class ShapeError(KetchupError):
    """Raised when a tensor has another shape than its name says."""


class ModelError(KetchupError):
    """Raised when a model cannot be loaded or used."""


class TrackerError(KetchupError):
    """Raised when a tracker that was asked for cannot be started."""


class NonFiniteError(KetchupError):
    """Raised when a NaN or an infinity stands where a number was needed."""

    exit_code = 7


class RewardError(KetchupError):
    """Raised when a reward cannot be used at all, or failed where that ends a run."""


class JudgeError(KetchupError):
    """Raised when a judge cannot be asked."""


class JudgeRefused(JudgeError):
    """Raised when no request can succeed: key, quota, model or address are refused."""

    exit_code = 4


class JudgeUnreachable(JudgeError):
    """Raised when nobody answers, or a server asks to wait longer than allowed."""

    exit_code = 75


class OverBudget(JudgeError):
    """Raised when the next request might cost more than is left; what was paid for is kept."""

    exit_code = 8


class Unjudged(JudgeError):
    """Raised when more answers than allowed could not be used."""

    exit_code = 5
