"""Entry point of the policy pack: the engine starts it beside a preview or an update."""

from policies.pack import serve

serve()
