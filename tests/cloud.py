"""Small programs under the real engine and the local cloud: what tests of components and of the provider share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from pulumi import automation as auto

from local import engine
from local.environment import environment
from local.stack import LocalStack, existing_stack

Program = Callable[[], None]


class Cloud:
    """Stacks of one test, with their own state and home."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stacks: dict[str, auto.Stack] = {}
        self.env = {**engine.environment(local=True), "ZDM_HOME": str(folder / "home"), "CLOUDFLARE_API_TOKEN": "x"}

    def use(self, program: Program, stack: str = "dev") -> auto.Stack:
        options = auto.LocalWorkspaceOptions(
            work_dir=str(self._folder),
            env_vars=self.env,
            project_settings=auto.ProjectSettings("tiny", "python"),
        )
        made = auto.create_or_select_stack(stack, "tiny", program, opts=options)
        made.set_config("aws:region", auto.ConfigValue("us-east-1"))
        made.set_config("aws:defaultTags", auto.ConfigValue(json.dumps({"tags": {"owner": "platform"}})))
        self._stacks[stack] = made
        return made

    def local(self, stack: str = "dev") -> LocalStack:
        found = existing_stack(stack, self._folder / "home")
        assert found
        return found

    def state(self, stack: str = "dev") -> str:
        """What the engine keeps of a stack, as it lies on disk."""
        return next(engine.home().glob(f"state/.pulumi/stacks/*/{stack}.json")).read_text()

    def stop(self) -> None:
        for name in self._stacks:
            stack = existing_stack(name, self._folder / "home")
            for process in stack.processes() if stack else ():
                process.stop(2)


def changes(result: Any) -> dict[str, int]:
    return {str(getattr(k, "value", k)): n for k, n in result.summary.resource_changes.items()}


def client(service: str, region: str = "us-east-1") -> Any:
    """boto3's client of the AWS API of the local stack `dev`."""
    there = environment("dev")
    make: Any = boto3.client  # typed by service names that are literals, which these are not
    return make(
        service,
        region_name=region,
        endpoint_url=there["AWS_ENDPOINT_URL"],
        aws_access_key_id=there["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=there["AWS_SECRET_ACCESS_KEY"],
    )
