"""The trainer against the official code's step, restated here in plain torch with networks of its own.

The restatement shares the pictures and the first weights with the trainer and nothing else.
"""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from cyclegan_hf.training.builders import image_processors
from cyclegan_hf.training.config import TrainConfig
from cyclegan_hf.training.data.file_source import list_pictures
from cyclegan_hf.training.data.streams import DomainDataset, DomainStream
from cyclegan_hf.training.trainer import Trainer
from tests.official import official_networks
from tests.training.tiny import largest_difference, tiny_config, weights


# Large steps, so that an error of order or weight shows within few of them.
SETTINGS: dict[str, Any] = {
    "run": {"max_train_steps": 7, "image_pool_size": 2},
    "losses": {"lambda_a": 3.0, "lambda_b": 2.0, "lambda_identity": 0.5},
    "optimizer": {"learning_rate": 2e-3},
    "lr_scheduler": {"type": "linear", "constant": 1, "decay": 2},  # three steps an epoch: rates 1, 2/3, 1/3 of it
}


# Sums in another order differ in their last bits, and several steps of Adam make any difference large: where its
# gradients are rounding errors alone (biases before an instance norm), it takes whole steps. One step with a large
# epsilon is proportional to the gradient.
NEAR_GRADIENT_DESCENT: dict[str, Any] = {
    "run": {"max_train_steps": 1},
    "optimizer": {"learning_rate": 2e-3, "adam_epsilon": 1e-2},
}


def separate_passes(config: TrainConfig) -> Trainer:
    """A trainer that makes the official code's passes one by one, so that every bit can be compared."""
    trainer = Trainer(config)
    trainer.update.together = False
    return trainer


def official_twins(trainer: Trainer) -> dict[str, torch.nn.Module]:
    """The official networks with the trainer's weights; theirs and ours list the tensors in the same order."""
    networks = {name: official_networks.Resnet(width=4, blocks=1, downs=1) for name in ("G_A", "G_B")}
    networks |= {name: official_networks.Patch(width=4, n_layers=1) for name in ("D_A", "D_B")}
    ours = {"G_A": "generator_a2b", "G_B": "generator_b2a", "D_A": "discriminator_b", "D_B": "discriminator_a"}
    for name, network in networks.items():
        tensors = getattr(trainer.raw, ours[name]).state_dict().values()
        network.load_state_dict(dict(zip(network.state_dict(), (t.clone() for t in tensors), strict=True)))
    return networks


def in_our_names(networks: dict[str, torch.nn.Module], trainer: Trainer) -> dict[str, torch.Tensor]:
    theirs = {"generator_a2b": "G_A", "generator_b2a": "G_B", "discriminator_a": "D_B", "discriminator_b": "D_A"}
    return {
        f"{name}.{key}": tensor
        for name, network in vars(trainer.raw).items()
        for key, tensor in zip(network.state_dict(), networks[theirs[name]].state_dict().values(), strict=True)
    }


def batches(config: TrainConfig, domain: int) -> DomainStream:
    key = "ab"[domain]
    pictures = list_pictures(getattr(config.data, key), key)
    dataset = DomainDataset(pictures, image_processors(config)[domain], config.data, config.run.seed, domain)
    return DomainStream(dataset, config.run.train_batch_size, 0, 0, 1)


class Pool:
    def __init__(self, size: int, seed: int) -> None:
        self.size, self.images, self.random = size, [], random.Random(seed)

    def query(self, images: torch.Tensor) -> torch.Tensor:
        if self.size == 0:
            return images
        answer = []
        for image in images:
            image = image.detach()[None]
            if len(self.images) < self.size:
                self.images.append(image)
                answer.append(image)
            elif self.random.uniform(0, 1) > 0.5:
                index = self.random.randint(0, self.size - 1)
                answer.append(self.images[index].clone())
                self.images[index] = image
            else:
                answer.append(image)
        return torch.cat(answer)


def train_officially(config: TrainConfig, networks: dict[str, torch.nn.Module], change: str = "") -> None:
    """The official loop; `change` is a mistake that the comparison must find."""
    g_a, g_b, d_a, d_b = (networks[name] for name in ("G_A", "G_B", "D_A", "D_B"))
    rate, eps = config.optimizer.learning_rate, config.optimizer.adam_epsilon
    adam_g = torch.optim.Adam([*g_a.parameters(), *g_b.parameters()], lr=rate, betas=(0.5, 0.999), eps=eps)
    adam_d = torch.optim.Adam([*d_a.parameters(), *d_b.parameters()], lr=rate, betas=(0.5, 0.999), eps=eps)
    pool_a = Pool(config.run.image_pool_size, 2 * config.run.seed)
    pool_b = Pool(config.run.image_pool_size, 2 * config.run.seed + 1)
    lambda_a, lambda_b, lambda_idt = config.losses.lambda_a, config.losses.lambda_b, config.losses.lambda_identity
    stream_a, stream_b = batches(config, 0), batches(config, 1)

    def against(scores: torch.Tensor, target: float) -> torch.Tensor:
        return F.mse_loss(scores, torch.tensor(target).expand_as(scores))

    def step_discriminators(fake_a: torch.Tensor, fake_b: torch.Tensor) -> None:
        adam_d.zero_grad()
        half = 1.0 if change == "not halved" else 0.5
        for judge, real, fake in ((d_a, real_b, pool_b.query(fake_b)), (d_b, real_a, pool_a.query(fake_a))):
            (half * (against(judge(real), 1.0) + against(judge(fake.detach()), 0.0))).backward()
        adam_d.step()

    for number in range(config.run.max_train_steps):
        epoch = number // 3 + 1
        factor = 1 - max(0, epoch - config.lr_scheduler.constant) / (config.lr_scheduler.decay + 1)
        for adam in (adam_g, adam_d):
            adam.param_groups[0]["lr"] = rate * factor
        real_a, real_b = next(stream_a), next(stream_b)
        fake_b, fake_a = g_a(real_a), g_b(real_b)
        rec_a, rec_b = g_b(fake_b), g_a(fake_a)
        if change == "discriminators first":
            step_discriminators(fake_a, fake_b)
        for network in (d_a, d_b):
            network.requires_grad_(False)
        idt_a, idt_b = g_a(real_b), g_b(real_a)
        if change == "identity swapped":
            lambda_a, lambda_b = lambda_b, lambda_a
        loss = (idt_a - real_b).abs().mean() * lambda_b * lambda_idt
        loss = loss + (idt_b - real_a).abs().mean() * lambda_a * lambda_idt
        if change == "identity swapped":
            lambda_a, lambda_b = lambda_b, lambda_a
        loss = loss + against(d_a(fake_b), 1.0) + against(d_b(fake_a), 1.0)
        loss = loss + (rec_a - real_a).abs().mean() * lambda_a + (rec_b - real_b).abs().mean() * lambda_b
        adam_g.zero_grad()
        loss.backward()
        adam_g.step()
        for network in (d_a, d_b):
            network.requires_grad_(True)
        if change == "fakes drawn anew":
            fake_b, fake_a = g_a(real_a), g_b(real_b)
        if change != "discriminators first":
            step_discriminators(fake_a, fake_b)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_trainer_takes_the_official_steps(tmp_path: Path, batch_size: int) -> None:
    config = tiny_config(tmp_path, **SETTINGS)
    config.run.train_batch_size = batch_size
    if batch_size == 2:  # three pictures are one epoch and a half: two steps an epoch here, three there
        config.lr_scheduler.constant = 100
    trainer = separate_passes(config)
    before, twins = weights(trainer.raw), official_twins(trainer)
    trainer.train()
    train_officially(config, twins)
    assert largest_difference(weights(trainer.raw), before) > 5e-3  # it has learnt something
    assert largest_difference(weights(trainer.raw), in_our_names(twins, trainer)) < 1e-7


@pytest.mark.parametrize("separate", [False, True])
def test_discriminators_first_is_that_order_and_separate_optimisers_change_nothing(
    tmp_path: Path, separate: bool
) -> None:
    config = tiny_config(tmp_path, **SETTINGS)
    config.optimizer.discriminators_first, config.optimizer.separate = True, separate
    trainer = separate_passes(config)
    twins = official_twins(trainer)
    trainer.train()
    train_officially(config, twins, change="discriminators first")
    assert largest_difference(weights(trainer.raw), in_our_names(twins, trainer)) < 1e-7


@pytest.mark.parametrize("change", ["discriminators first", "fakes drawn anew", "not halved", "identity swapped"])
def test_a_step_in_another_way_would_be_seen(tmp_path: Path, change: str) -> None:
    config = tiny_config(tmp_path, **SETTINGS)
    trainer = separate_passes(config)
    twins = official_twins(trainer)
    trainer.train()
    train_officially(config, twins, change)
    assert largest_difference(weights(trainer.raw), in_our_names(twins, trainer)) > 1e-4


def test_one_batch_for_two_passes_takes_the_same_step(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, **SETTINGS | NEAR_GRADIENT_DESCENT)
    trainer = Trainer(config)
    before, twins = weights(trainer.raw), official_twins(trainer)
    assert trainer.update.together
    trainer.train()
    train_officially(config, twins)
    assert largest_difference(weights(trainer.raw), before) > 1e-3
    assert largest_difference(weights(trainer.raw), in_our_names(twins, trainer)) < 2e-6


def test_two_accumulated_batches_of_one_are_a_batch_of_two(tmp_path: Path) -> None:
    ends = []
    for batch_size, accumulated in ((2, 1), (1, 2)):
        config = tiny_config(tmp_path, **SETTINGS | NEAR_GRADIENT_DESCENT)
        config.run.image_pool_size = 0
        config.run.train_batch_size, config.run.gradient_accumulation_steps = batch_size, accumulated
        trainer = Trainer(config)
        trainer.train()
        ends.append(weights(trainer.raw))
    assert largest_difference(*ends) < 2e-6
