"""Knockoff Nets, adaptive strategy (Orekondy et al. 2019, section 4.1.2): a bandit over classes of a pool."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from extraction.attacks.base import Ask, Attack, Attacker, pool_images
from storage.identity import stable_id
from storage.typed import Count, Positive, check_declared
from training.fit import predict_logits
from training.seeds import generator
from victims.types import Answer

REWARDS = ("certainty", "diversity", "loss")


@stable_id("attack/knockoff_adaptive@2")
class KnockoffAdaptive(Attack):
    """Learns which classes of a labelled pool are worth asking about, by a gradient bandit.

    The policy is a softmax over preferences H, one for each class. After each batch of queries the paper's
    update is applied: H += (r - mean r) / N(class) * (1[class] - policy), where r is the mean of the chosen
    rewards. Each reward lies in [0, 1]:

    - certainty: margin between the answer's two largest probabilities;
    - diversity: by how much the answer exceeds the mean answer so far, summed over classes;
    - loss: 1 - exp(-cross entropy) of the substitute's answer to the victim's. The substitute is that of the
      round before, or the untrained one, and learns from each batch by one step, as the paper's does.

    Args:
        batch: Queries between two updates of the policy.
        rewards: Names of the rewards to average.
        rate: Learning rate of that step, by plain gradient descent.

    Raises:
        ValueError: An option is out of range.
    """

    def __init__(self, batch: Count = 50, rewards: tuple[str, ...] = REWARDS, rate: Positive = 0.01) -> None:
        unknown = set(rewards) - set(REWARDS)
        if unknown or not rewards:
            raise ValueError(f"attack.rule.rewards must be some of {', '.join(REWARDS)}, not {rewards!r}")
        self.batch, self.rewards, self.rate = batch, tuple(rewards), rate
        check_declared(self, "attack.rule")
        self.preference = torch.zeros(0, dtype=torch.float64)
        self.taken = torch.zeros(0, dtype=torch.int64)
        self.answer_sum = torch.zeros(0, dtype=torch.float64)
        self.reward_sum = torch.zeros((), dtype=torch.float64)

    def run_round(self, attacker: Attacker, ask: Ask, count: int) -> None:
        """Ask in batches; each is drawn from the policy, which its rewards then update."""
        if not len(self.taken):
            self.taken = torch.zeros(attacker.pool.num_classes, dtype=torch.int64)
            self.preference = torch.zeros(attacker.pool.num_classes, dtype=torch.float64)
        order = images_by_class(attacker)
        random = attacker.random("bandit")
        learner = deepcopy(attacker.student if attacker.substitute is None else attacker.substitute)
        for start in range(0, count, self.batch):
            size = min(self.batch, count - start)
            actions, index = self._draw(order, size, random)
            images = pool_images(attacker, attacker.pool, index)
            answer = ask(images)
            probabilities = _probabilities(answer, attacker.num_classes)
            self._learn(actions, self._reward(attacker, images, probabilities, learner))
            if learner is not None and "loss" in self.rewards:
                _step(learner, images, probabilities, self.rate)

    @property
    def policy(self) -> Tensor:
        """Probability of each class, float64 `[classes]`."""
        return self.preference.softmax(0)

    def _draw(self, order: list[Tensor], size: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw classes from the policy, and take each class's next images in random order.

        Returns the classes and the images' positions in the pool, both int64 `[size]`. A class that runs out
        of images is drawn no more.
        """
        sizes = torch.tensor([len(images) for images in order])
        actions: list[Tensor] = []
        index: list[Tensor] = []
        missing = size
        while missing:
            weights = self.policy * (self.taken < sizes)
            drawn = torch.multinomial(weights, missing, replacement=True, generator=random).bincount(
                minlength=len(order)
            )
            drawn = torch.minimum(drawn, sizes - self.taken)
            for action in drawn.nonzero().flatten().tolist():
                first, number = int(self.taken[action]), int(drawn[action])
                index.append(order[action][first : first + number])
                actions.append(torch.full((number,), action))
            self.taken += drawn
            missing -= int(drawn.sum())
        return torch.cat(actions), torch.cat(index)

    def _reward(
        self, attacker: Attacker, images: Tensor, probabilities: Tensor, learner: nn.Module | None
    ) -> Tensor:
        """Return the mean reward of each query, float64 `[n]` in [0, 1]."""
        asked = int(self.taken.sum()) - len(images)
        if not asked:
            self.answer_sum = torch.zeros(attacker.num_classes, dtype=torch.float64)
        mean_answer = self.answer_sum / max(asked, 1)
        self.answer_sum = self.answer_sum + probabilities.sum(0)
        rewards = {
            "certainty": _margin(probabilities),
            "diversity": (probabilities - mean_answer).clamp_min(0).sum(1),
            "loss": torch.zeros(len(images), dtype=torch.float64),
        }
        if learner is not None and "loss" in self.rewards:
            logits = predict_logits(learner, images, attacker.hardware).double().cpu()
            rewards["loss"] = 1 - (probabilities * logits.log_softmax(1)).sum(1).exp()
        return torch.stack([rewards[name] for name in self.rewards]).mean(0)

    def _learn(self, actions: Tensor, reward: Tensor) -> None:
        """Apply the paper's update of the preferences, summed over a batch."""
        asked = int(self.taken.sum())
        self.reward_sum = self.reward_sum + reward.sum()
        advantage = (reward - self.reward_sum / asked) / self.taken[actions]
        policy = self.policy
        self.preference = self.preference.index_add(0, actions, advantage) - advantage.sum() * policy

    def state_dict(self) -> dict[str, Any]:
        """Return the preferences, and the sums that rewards are compared with."""
        names = ("preference", "taken", "answer_sum", "reward_sum")
        return {name: getattr(self, name).clone() for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name, value in state.items():
            setattr(self, name, value.cpu().clone())


def images_by_class(attacker: Attacker) -> list[Tensor]:
    """Return for each class the positions of its images in the pool, in the seed's random order."""
    order = torch.randperm(len(attacker.pool), generator=generator(attacker.seed, "pool order"))
    labels = attacker.pool.labels.cpu()[order]
    return [order[labels == action] for action in range(attacker.pool.num_classes)]


def _probabilities(answer: Answer, num_classes: int) -> Tensor:
    """Return answers of any kind as probabilities float64 `[n, classes]` that sum to one."""
    values = answer.values.cpu()
    if values.dim() == 1:
        return torch.nn.functional.one_hot(values, num_classes).double()
    return values.double() / values.double().sum(1, keepdim=True)


def _step(network: nn.Module, images: Tensor, probabilities: Tensor, rate: float) -> None:
    """Lower the cross entropy of a batch by one step of gradient descent, in place.

    In evaluation mode, so that statistics of single batches do not unsettle the network.
    """
    network.eval()
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    loss = nn.functional.cross_entropy(network(images), probabilities.to(images.device, images.dtype))
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def _margin(probabilities: Tensor) -> Tensor:
    first, second = probabilities.topk(2, dim=1).values.unbind(1)
    return first - second
