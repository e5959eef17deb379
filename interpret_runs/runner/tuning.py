"""Settings that change how fast runs are executed, and nothing else of them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from interpret_runs.runner.keys import unknown_key
from interpret_runs.runner.slots import AUTO

MEMORY_FORMATS = (AUTO, "contiguous", "channels_last")
# Of a `Tuning`: what plans and records tell, and no setting.
TOLD = ("split", "at_once")


@dataclass(frozen=True)
class Tuning:
    """How the network of a batch is computed, and of how many runs at once.

    No run id depends on it, and scores by rounding alone.

    Args:
        memory_format: ``contiguous`` or ``channels_last``; ``auto`` is what a short measurement finds faster.
        compile: visualisations compile the part of the network that they need.
        cuda_graphs: on a GPU, visualisations replay their step as one graph where it can be captured.
        split: on a CPU, a batch is executed in parts of the size that a short trial finds fastest.
        at_once: most runs that are optimised at the same time; None is as `split` says.
    """

    memory_format: str = AUTO
    compile: bool = False
    cuda_graphs: bool = True
    split: bool = False
    at_once: int | None = None

    def __post_init__(self) -> None:
        if self.memory_format not in MEMORY_FORMATS:
            allowed = ", ".join(MEMORY_FORMATS)
            raise ValueError(f"compute.memory_format is {self.memory_format!r}; it is one of {allowed}")
        for name in ("compile", "cuda_graphs"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"compute.{name} is {getattr(self, name)!r}; it is true or false")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Tuning":
        """What the settings ``compute`` say.

        Batches are split where ``batch_size`` is ``auto``; those of a number that is asked for stay as they are.

        Raises:
            LookupError: a key that is not for users to set.
            ValueError: a value that there is not.
        """
        for name in TOLD:
            if name in settings:
                raise LookupError(unknown_key(f"compute.{name}", [f"compute.{key}" for key in {*settings} - {*TOLD}]))
        return replace(cls.from_json(settings), split=settings.get("batch_size") == AUTO)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Tuning":
        """One out of what `to_json` gives, whatever else is there; older plans leave some out."""
        return cls(**{field.name: data[field.name] for field in fields(cls) if field.name in data})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


_present: ContextVar[Tuning] = ContextVar("tuning", default=Tuning())  # noqa: B039  # frozen


def tuning() -> Tuning:
    """That of the batch which is being executed."""
    return _present.get()


@contextmanager
def tuned(settings: Tuning) -> Iterator[None]:
    """Batches are executed as `settings` say, for the length of a ``with``."""
    token = _present.set(settings)
    try:
        yield
    finally:
        _present.reset(token)
