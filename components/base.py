"""What all components share: the way they name and parent their children, and the error for a bad argument.

Invariants:
- A component's type token is `zdm:index:<class name>`; its children are called `<component>-<role>`.
- The component is always its children's parent, whatever the caller's options say.
"""

from __future__ import annotations

import pulumi
from pulumi import ResourceOptions


class ArgumentError(ValueError):
    """An argument of a component does not fit. The text names the component's arguments, the argument, and why."""


def demand(args: object, **rules: tuple[bool, str]) -> None:
    """Raises one `ArgumentError` with every argument whose rule does not hold: `argument=(holds, what is wrong)`."""
    wrong = [f"{type(args).__name__}.{name}: {why}" for name, (holds, why) in rules.items() if not holds]
    if wrong:
        raise ArgumentError("; ".join(wrong))


class Component(pulumi.ComponentResource):
    """Base of the components. Call `register_outputs` last in the constructor."""

    def __init__(self, name: str, opts: ResourceOptions | None) -> None:
        super().__init__(f"zdm:index:{type(self).__name__}", name, None, opts)
        self._stays = opts.retain_on_delete if opts else None

    def child(self, opts: ResourceOptions | None = None) -> ResourceOptions:
        """Options for a child of this component. What is to stay when the stack goes stays with all its parts."""
        return ResourceOptions.merge(opts, ResourceOptions(parent=self, retain_on_delete=self._stays))
