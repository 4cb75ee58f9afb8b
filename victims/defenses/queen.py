"""QUEEN, query unlearning.

Chen, Zhu, Ke, Zhou, Zhu 2024, "QUEEN: Query Unlearning against Model Extraction", and the authors' code. The
victim's features are mapped to a plane, where each class has a center, and a sensitive region around it: the
mean distance of its training images from there is the region's radius R.

- A query is sensitive where it lies in the region of its label, at a distance d < R, and not within r of a
  query that is on record there. It is put on record, and the class's coverage, the cumulative sensitivity,
  grows by s^2 (r / R)^2, with s = erfc((d - R) / R) / 2, its own sensitivity.
- Once a class's coverage exceeds a threshold, sensitive queries are not put on record any more, but answered
  so that learning from them undoes what was learned: with p what shadow models say, y' is the answer whose
  direction is closest to 2 p - y. Its gradient, p - y', is that of the true answer, p - y, turned round.
- Any other answer is that to the features moved towards the farthest class's center, as far as the label
  stays what it is.

There is one record of all queries, whoever asks.

Departures: r is a share of R, since R depends on how the plane is scaled. The mapping network learns by the
supervised contrastive loss (Khosla et al. 2020) of squared distances instead of inner products of unit
vectors: those would lie on a circle, whose classes cover no area.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from storage.identity import stable_id
from storage.options import check_number
from storage.typed import Count, Natural, NonNegative, Positive, check_declared
from training.fit import fit, predict_logits
from training.recipe import Hardware, Recipe
from training.seeds import derive_seed, generator, seeded
from victims.architectures.build import Architecture, build_network
from victims.buckets import Features
from victims.datasets.images import ImageSet
from victims.defenses.base import AuxiliarySettings, DefendedVictim, Perturb, Perturbation, kept_label

MOVES = 20
"""Steps, at most, by which features are moved; the authors' number."""

STEP = 0.05
"""Length of such a step; the authors' number."""

MAPPING = Recipe(epochs=100, batch_size=1024, optimizer="adam", learning_rate=3e-3, weight_decay=0.0)
"""How the mapping network is trained."""


class QueenNetworks(nn.Module):
    """Shadow models, the mapping network, and where the training images lie.

    Args:
        shadows: Untrained networks.
        width: Numbers of a feature.
        classes: Classes of the victim.
    """

    far: Tensor
    centers: Tensor
    radii: Tensor

    def __init__(self, shadows: list[nn.Module], width: int, classes: int) -> None:
        super().__init__()
        self.shadows = nn.ModuleList(shadows)
        sizes = [width, *(max(8, width // 4**depth) for depth in (1, 2, 3)), 2]
        layers = [[nn.Linear(*pair), nn.LeakyReLU()] for pair in pairwise(sizes)]
        self.mapping = nn.Sequential(nn.Flatten(), *[it for pair in layers for it in pair][:-1])
        self.register_buffer("far", torch.zeros(classes, width))
        self.register_buffer("centers", torch.zeros(classes, 2))
        self.register_buffer("radii", torch.zeros(classes))


@stable_id("queen_networks")
@dataclass(frozen=True)
class QueenSettings(AuxiliarySettings):
    """How shadow models and the mapping network are made.

    Attributes:
        architecture: Factory of the shadow models.
        recipe: How they are trained; one epoch, so that they are like an attacker's network.
        seed: Seed of weights and training.
        shadows: How many there are.

    Raises:
        ValueError: An option is out of range.
    """

    architecture: Architecture
    recipe: Recipe
    seed: Natural
    shadows: Count = 10

    def __post_init__(self) -> None:
        check_declared(self, "defense.queen.networks")

    def untrained(self, victim: nn.Module, train: ImageSet) -> nn.Module:
        """See AuxiliarySettings; raises ValueError where the victim's last layer is not linear."""
        head = last_layer(victim, train)
        shadows = []
        for number in range(self.shadows):
            with seeded(self.seed, "shadow", number):
                shadows.append(
                    build_network(self.architecture, train.image_shape, train.num_classes, train.images)
                )
        with seeded(self.seed, "mapping"):
            return QueenNetworks(shadows, head.in_features, train.num_classes)

    def fit(
        self, network: nn.Module, victim: nn.Module, train: ImageSet, hardware: Hardware
    ) -> dict[str, float]:
        """See AuxiliarySettings; tells the share of training images in a sensitive region of their class."""
        assert isinstance(network, QueenNetworks)
        for number, shadow in enumerate(network.shadows):
            seed = derive_seed(self.seed, "shadow training", number)
            fit(shadow, train.images, train.labels, self.recipe, hardware, seed)
        hardware.place(network).eval()
        exact = replace(hardware, precision="32-true", channels_last=False)
        features = predict_logits(Features(victim), train.images, hardware)
        inputs, labels = features[:, :, None, None], train.labels.to(features.device)
        seed = derive_seed(self.seed, "mapping training")
        fit(network.mapping, inputs, labels, MAPPING, exact, seed, loss=contrastive)
        plane = predict_logits(network.mapping, inputs, exact)
        for label in range(train.num_classes):
            own = labels == label
            center = plane[own].mean(0)
            network.far[label], network.centers[label] = features[own].mean(0), center
            network.radii[label] = (plane[own] - center).norm(dim=1).mean()
        distances = (plane - network.centers[labels]).norm(dim=1)
        return {"within": float((distances < network.radii[labels]).double().mean())}


def last_layer(network: nn.Module, train: ImageSet) -> nn.Linear:
    """The linear layer that a network ends with; raises ValueError naming the option if it does not."""
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if linear:
        with torch.no_grad():
            device = linear[-1].weight.device
            images = train.images[:2].to(device).float() / 255
            if torch.allclose(linear[-1](Features(network)(images)), network(images), atol=1e-4):
                return linear[-1]
    raise ValueError("defense=queen needs a victim that ends with a linear layer; choose another victim")


def contrastive(points: Tensor, labels: Tensor, temperature: float = 1.0) -> Tensor:
    """The supervised contrastive loss of points `[n, 2]` with labels int64 `[n]` (Khosla et al. 2020, eq. 2).

    Its similarity is minus half the squared distance. A point that is alone in its class counts nothing.
    """
    alike = labels[:, None] == labels
    itself = torch.eye(len(points), dtype=torch.bool, device=points.device)
    squares = (points[:, None] - points).square().sum(2)
    similar = (-squares / (2 * temperature)).masked_fill(itself, -torch.inf)
    log_share = (similar - similar.logsumexp(1, keepdim=True)).masked_fill(itself, 0)
    positives = alike & ~itself
    count = positives.sum(1)
    return -((log_share * positives).sum(1) / count.clamp_min(1))[count > 0].mean()


@stable_id("defense/queen")
class Queen(Perturbation):
    """Answers true at first, and the opposite once a class's region is known too well (see above).

    Args:
        radius: r, as a share of the region's radius.
        threshold: Coverage of a class from which on answers are reversed.
        models: Shadow models whose mean answer is p, drawn for each query.
        networks: The shadow models, and how they are trained.

    Raises:
        ValueError: An option is out of range.
    """

    trains = "networks"
    trains_by_asking = True
    remembers = True

    def __init__(
        self, radius: Positive, threshold: NonNegative, models: Count, networks: QueenSettings
    ) -> None:
        check_number("defense.queen.models", models, 1, networks.shadows, whole=True)
        self.radius, self.threshold, self.models, self.networks = radius, threshold, models, networks
        check_declared(self, "defense.queen")

    @property
    def repeats_itself(self) -> bool:
        """Whether the same image gets the same answer."""
        return False

    def bind(self, victim: DefendedVictim) -> Perturb:
        """See Perturbation; trains the networks, if the store lacks them."""
        networks = victim.trained(self.networks)
        assert isinstance(networks, QueenNetworks)
        return Queened(self, victim, networks)


@dataclass(eq=False)
class Region:
    """The sensitive region of a class: what lies on record there, `[m, 2]`, and how much it covers."""

    center: Tensor
    radius: float
    recorded: Tensor = field(default_factory=lambda: torch.zeros(0, 2))
    covered: float = 0.0

    def reverses(self, points: Tensor, near: float, threshold: float) -> Tensor:
        """Which of some points `[n, 2]` are answered in reverse, bool `[n]`, each when its turn comes.

        The others are answered true, and put on record where they are sensitive. Whether a point is sensitive
        depends on those before it, so this goes on point by point, over distances computed at once.
        """
        distance = (points - self.center).norm(dim=1)
        nearest = torch.full((len(points),), torch.inf)
        if len(self.recorded):
            nearest = distances(points, self.recorded).amin(1)
        between = distances(points, points)
        reversed_, recorded = torch.zeros(len(points), dtype=torch.bool), []
        for number in (distance < self.radius).nonzero()[:, 0].tolist():
            if nearest[number] <= near * self.radius:
                continue
            if self.covered > threshold:
                reversed_[number] = True
                continue
            recorded.append(number)
            self.covered += float(sensitivity(distance[number], self.radius)) ** 2 * near**2
            nearest = nearest.minimum(between[number])
        self.recorded = torch.cat([self.recorded, points[recorded]])
        return reversed_


def distances(points: Tensor, others: Tensor) -> Tensor:
    """Distances of points in the plane, to the last digit in batches of any size: clusters are small."""
    return torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist")


def sensitivity(distance: Tensor, radius: float) -> Tensor:
    """A query's own sensitivity, by its distance from the center: 0.92 there, 0.5 at the radius."""
    return torch.erfc((distance - radius) / radius) / 2


class Queened:
    """The Perturb of Queen: it knows all queries before."""

    def __init__(self, queen: Queen, victim: DefendedVictim, networks: QueenNetworks) -> None:
        self.queen, self.victim, self.networks = queen, victim, networks
        self.features = Features(victim.network).eval()
        self.weight = last_layer(victim.network, victim.train).weight.detach()
        self.regions = [
            Region(center, float(radius))
            for center, radius in zip(networks.centers.cpu(), networks.radii, strict=True)
        ]

    def __call__(self, images: Tensor, probabilities: Tensor, first: int) -> Tensor:
        """See Perturb."""
        features = predict_logits(self.features, images, self.victim.hardware)
        exact = replace(self.victim.hardware, channels_last=False)
        plane = predict_logits(self.networks.mapping, features[:, :, None, None], exact).cpu()
        labels, y = probabilities.argmax(1), probabilities.double()
        answers = moved(y, self._direction(features).to(y.device).double())
        turned = self._reversed(plane, labels.cpu()).to(y.device)
        if turned.any():
            said = self._shadows(images[turned.to(images.device)], first).to(y.device)
            answers[turned] = opposite(y[turned], said)
        kept = kept_label(answers.float(), probabilities)
        return torch.where(turned[:, None], answers.float(), kept)

    def _direction(self, features: Tensor) -> Tensor:
        """How logits change along the way to the farthest class's center, `[n, classes]`."""
        far = self.networks.far.to(features.device)
        way = far[torch.cdist(features, far).argmax(1)] - features
        return nn.functional.normalize(way) @ self.weight.to(features).T

    def _reversed(self, plane: Tensor, labels: Tensor) -> Tensor:
        turned = torch.zeros(len(plane), dtype=torch.bool)
        for label in labels.unique().tolist():
            rows = (labels == label).nonzero()[:, 0]
            region = self.regions[label]
            turned[rows] = region.reverses(plane[rows], self.queen.radius, self.queen.threshold)
        return turned

    def _shadows(self, images: Tensor, first: int) -> Tensor:
        """The mean answer of some shadow models, drawn for each image: float64 `[n, classes]`."""
        said = [
            predict_logits(shadow, images, self.victim.hardware).double().softmax(1)
            for shadow in self.networks.shadows
        ]
        random = generator(self.victim.seed, "shadows", first)
        drawn = torch.rand(len(images), len(said), generator=random).topk(self.queen.models, 1).indices
        rows = torch.arange(len(images))[:, None]
        return torch.stack(said, 1)[rows.to(images.device), drawn.to(images.device)].mean(1)


def opposite(y: Tensor, said: Tensor) -> Tensor:
    """The answer closest in direction to 2 p - y, `[n, classes]`: its positive part, to a sum of one."""
    wanted = (2 * said - y).clamp_min(0)
    return wanted / wanted.sum(1, keepdim=True)


def moved(y: Tensor, direction: Tensor) -> Tensor:
    """Answers after the most steps along a change of logits `[n, classes]` that keep each label."""
    steps = STEP * torch.arange(MOVES + 1, dtype=y.dtype, device=y.device)
    logits = y.clamp_min(1e-30).log()[:, None] + steps[:, None] * direction[:, None]
    keeps = (logits.argmax(2) == y.argmax(1)[:, None]).long().cumprod(1).sum(1) - 1
    return logits[torch.arange(len(y), device=y.device), keeps.clamp_min(0)].softmax(1)
