"""Settings that are each valid and impossible together: refused before anything runs, with what would work."""

from torch import nn

from cyclegan_hf.models.discriminator_dual_head import DualHeadDiscriminator
from cyclegan_hf.models.discriminator_feature import FeatureDiscriminator
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.objectives import Networks


def check_combinations(config: TrainConfig, networks: Networks) -> None:
    """Refuse losses that the networks, or one another, do not allow.

    Args:
        config: The configuration.
        networks: What was built from it.

    Raises:
        ValueError: For an impossible combination; the message names the keys and what would work.
    """
    losses = config.losses
    generator = networks.generator_a2b.config
    same_channels = generator["in_channels"] == generator["out_channels"]
    channels = f"{generator['in_channels']} and {generator['out_channels']}"
    for key, why in (
        ("lambda_identity", "a picture of one domain cannot go through the generator for the other"),
        ("lambda_edge", "the gradients of a picture and of its translation cannot be compared channel by channel"),
        ("lambda_color", "the colours of a picture and of its translation cannot be compared"),
        ("lambda_source", "a discriminator cannot look at the other domain's pictures"),
    ):
        if getattr(losses, key) > 0 and not same_channels:
            raise ValueError(f"`losses.{key}` must be 0 where the domains' channels differ ({channels}): {why}.")

    sizes = config.data.image_sizes
    if losses.lambda_source > 0 and sizes[0] != sizes[1]:
        raise ValueError(
            f"`losses.lambda_source` must be 0 where the domains' sizes differ ({sizes[0]} and {sizes[1]}): one batch "
            "cannot hold both."
        )
    if (losses.lambda_pairs > 0) != (config.data.pairs is not None):
        raise ValueError("`data.pairs` and `losses.lambda_pairs` above 0 need one another: give both or neither.")
    alike = channels == "3 and 3" and sizes[0] == sizes[1] and config.data.normalization == "half"
    if losses.lambda_pairs > 0 and not alike:
        raise ValueError(
            "`losses.lambda_pairs` must be 0 unless both domains have 3 channels, one size and "
            f"`data.normalization: half`, got {channels} channels, sizes {sizes[0]} and {sizes[1]}, "
            f"{config.data.normalization!r}."
        )
    activation = config.discriminator.get("output_activation", "none")
    if losses.adversarial != "lsgan" and activation != "none":
        raise ValueError(
            f"`losses.adversarial: {losses.adversarial}` takes unbounded scores: `discriminator.output_activation` "
            f"must be 'none', got {activation!r}; `losses.adversarial: lsgan` takes any."
        )
    name = type(networks.discriminator_a).__name__
    if losses.lambda_feature > 0 and not isinstance(networks.discriminator_a, DualHeadDiscriminator):
        raise ValueError(
            f"`losses.lambda_feature` must be 0: {name} gives no features; "
            "`discriminator._class_name: DualHeadDiscriminator` does."
        )
    if config.data.normalization == "dataset" and isinstance(networks.discriminator_a, FeatureDiscriminator):
        raise ValueError(
            f"`data.normalization` must be 'half' with {name}, whose frozen network takes images in [-1, 1], got "
            "'dataset'."
        )
    if losses.lambda_penalty > 0 and _has_batch_norm(networks.discriminator_a):
        raise ValueError(
            f"`losses.lambda_penalty` must be 0 with batch norm in {name}, whose gradients mix the pictures of a "
            "batch; `discriminator.norm_type: instance` or `none` would do."
        )
    if losses.adversarial == "wgan" and losses.lambda_penalty == 0:
        raise ValueError(
            "`losses.adversarial: wgan` needs `losses.lambda_penalty` above 0 (10 in its paper), got 0: without it "
            "the scores grow without bound."
        )
    if losses.adaptive == "dwa" and losses.adversarial in ("wgan", "hinge"):
        raise ValueError(
            f"`losses.adaptive: dwa` weighs terms that are never negative; `losses.adversarial: {losses.adversarial}` "
            "can be: lsgan, vanilla and relativistic go with it."
        )


def _has_batch_norm(network: nn.Module) -> bool:
    return any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
