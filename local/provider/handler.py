"""What stands behind one resource type of the local cloud.

The framework (`local.provider.server`) validates, names and diffs by the facts, keeps records and marks the secrets;
a handler sees plain values only, all of them known, and does the real thing. It is called from a pool of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from local.stack import LocalStack

Properties = dict[str, Any]


class HandlerError(RuntimeError):
    """A resource cannot be realised. The message says why and what to do; it reaches the user as it is."""


class Handler(Protocol):
    """Realises a resource type. Derive from it to get the defaults of `needs_repair`, `recorded` and `secrets`."""

    secrets: tuple[str, ...] = ()
    """Outputs that are secret, besides those that the facts name."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        """Makes the resource; returns its id and full state (inputs and what the cloud computes).

        When it raises, it leaves nothing behind: the engine will not know that there was anything.
        """
        ...

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        """The state as it truly is, None if the resource is gone. A dead process is not gone: say so in the state."""
        ...

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        """Changes the resource in place (and repairs it, when `needs_repair` said so); returns the full new state."""
        ...

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        """Removes the resource with its processes and data. One that is gone already is no error."""
        ...

    def needs_repair(self, state: Properties) -> list[str]:
        """The properties of a state (as `read` told it) that show that the part is dead and an update must mend it."""
        return []

    def recorded(self, stack: LocalStack, outputs: Properties) -> None:
        """Called when the record of a resource that was made or changed is written, to tell those that it concerns."""
        return None
