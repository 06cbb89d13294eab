"""Entry point of `pulumi up`: checks all settings, then builds the stack and exports its outputs."""

import pulumi

from infra.settings import SettingsError, load_settings
from infra.stack import build

try:
    settings = load_settings()
except SettingsError as e:
    raise pulumi.RunError(str(e)) from None
for name, value in build(settings).items():
    pulumi.export(name, value)
