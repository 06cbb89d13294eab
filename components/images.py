"""ImageRepository: the stack's repository of container images.

Invariants:
- A tag never changes what it names; every image is scanned when it is pushed, and encrypted under the stack's key.
- What no tag names goes after some days, and the oldest tagged images once there are more than are kept.
- While images are to be kept, a repository that still has some cannot be deleted.

Cost drivers:
- Stored images by the GiB and month, and what is pulled from other regions. Scans on push cost nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.base import Component, demand
from components.policies import statement


@dataclass(frozen=True)
class ImageRepositoryArgs:
    """Arguments of `ImageRepository`."""

    repository_name: str
    """Name of the repository, such as zdm-prod/orders."""
    data_key_arn: Input[str]
    """Key that images are encrypted with. Another one makes another repository."""
    keep_images: int = 30
    """Tagged images that are kept, the newest ones: a month of daily releases to go back to."""
    untagged_days: int = 7
    """Days until an image that has no tag any more goes: a week, for whoever still pulls it by its digest."""
    keep: bool = True
    """Refuse to delete the repository while there are images in it."""

    def __post_init__(self) -> None:
        demand(
            self,
            keep_images=(1 <= self.keep_images <= 1000, f"1 to 1000, not {self.keep_images}"),
            untagged_days=(1 <= self.untagged_days <= 365, f"1 to 365, not {self.untagged_days}"),
        )


def lifecycle_policy(keep_images: int, untagged_days: int) -> str:
    """Which images go, as ECR wants it: rules by priority, the one for any image last."""

    def rule(priority: int, description: str, **selection: Any) -> dict[str, Any]:
        return {
            "rulePriority": priority,
            "description": description,
            "selection": selection,
            "action": {"type": "expire"},
        }

    return json.dumps(
        {
            "rules": [
                rule(
                    1,
                    f"images without a tag, after {untagged_days} days",
                    tagStatus="untagged",
                    countType="sinceImagePushed",
                    countUnit="days",
                    countNumber=untagged_days,
                ),
                rule(
                    2,
                    f"all but the newest {keep_images}",
                    tagStatus="any",
                    countType="imageCountMoreThan",
                    countNumber=keep_images,
                ),
            ]
        }
    )


def repository_arn(image: str) -> str | None:
    """ARN of the ECR repository that an image's reference names; None where it lies in another registry."""
    found = re.fullmatch(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?/([^:@]+)([:@].+)?", image)
    if found is None:
        return None
    account, region, china, name, _ = found.groups()
    partition = "aws-cn" if china else "aws-us-gov" if region.startswith("us-gov-") else "aws"
    return f"arn:{partition}:ecr:{region}:{account}:repository/{name}"


def pull_images(images: Iterable[str]) -> list[dict[str, Any]]:
    """What pulling these images takes: their repositories and no other; nothing if none of them is in ECR."""
    repositories = sorted({arn for image in images if (arn := repository_arn(image))})
    if not repositories:
        return []
    return [
        statement("RegistryLogin", ["ecr:GetAuthorizationToken"], ["*"]),
        statement(
            "PullImages",
            ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            repositories,
        ),
    ]


class ImageRepository(Component):
    """One ECR repository with its lifecycle policy."""

    name: Output[str]
    """Name of the repository."""
    url: Output[str]
    """What an image's reference begins with: `<account>.dkr.ecr.<region>.amazonaws.com/<name>`."""
    arn: Output[str]
    """ARN, for the roles that pull."""

    def __init__(self, name: str, args: ImageRepositoryArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        repository = aws.ecr.Repository(
            f"{name}-repository",
            name=args.repository_name,
            image_tag_mutability="IMMUTABLE",
            image_scanning_configuration=aws.ecr.RepositoryImageScanningConfigurationArgs(scan_on_push=True),
            encryption_configurations=[
                aws.ecr.RepositoryEncryptionConfigurationArgs(encryption_type="KMS", kms_key=args.data_key_arn)
            ],
            force_delete=not args.keep,
            opts=self.child(),
        )
        aws.ecr.LifecyclePolicy(
            f"{name}-lifecycle",
            repository=repository.name,
            policy=lifecycle_policy(args.keep_images, args.untagged_days),
            opts=self.child(),
        )
        self.name, self.url, self.arn = repository.name, repository.repository_url, repository.arn
        self.register_outputs({"name": self.name, "url": self.url, "arn": self.arn})
