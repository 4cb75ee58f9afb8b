"""DisGUIDE (Rosenthal, Enouen, Pham, Tan 2023): data-free, guided by the disagreement of two clones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

from torch import Tensor, nn

from extraction.attacks.base import Attacker
from extraction.attacks.dfme import Dfme, Schedule
from extraction.learning.data_free import DataFreeRecipe
from extraction.learning.ensemble import Ensemble, renewed
from storage.identity import stable_id
from storage.typed import AboveNone, Bounds, Count, Natural, NonNegative, Share, check_declared

if TYPE_CHECKING:
    from extraction.learning.loops.data_free import DataFree


@stable_id("attack/disguide")
class Disguide(Dfme):
    """Asks about images on which its clones disagree; no query is spent on the generator's gradient.

    It learns from probabilities or from labels. The first clone is the substitute.

    Args:
        recipe: Steps, sizes and rates of the loop, with `directions` 0.
        budget: Queries of the whole extraction, of which `milestones` are shares.
        milestones: Shares of the budget at which both learning rates fall.
        decay: Factor by which they fall each time.
        schedule: See Dfme.
        clones: How many there are, two or more.
        diversity: Weight of the diversity of classes, the paper's lambda.
        grey: Of every so many images one is made grey; 0: none.

    Raises:
        ValueError: An option is out of range.
    """

    answers = ("soft", "hard")
    estimates_gradients = False

    def __init__(
        self,
        recipe: DataFreeRecipe,
        budget: Count,
        milestones: tuple[Share, ...] = (0.4, 0.8),
        decay: AboveNone = 0.3,
        schedule: Schedule = "steps",
        clones: Annotated[int, Bounds(2)] = 2,
        diversity: NonNegative = 0.2,
        grey: Natural = 8,
    ) -> None:
        super().__init__(recipe, budget, milestones, decay, schedule)
        self.clones, self.diversity, self.grey = clones, diversity, grey
        check_declared(self, "attack.rule")
        self.others: list[dict[str, Tensor]] = []

    def _loop(self) -> type[DataFree]:
        from extraction.learning.loops.ensemble import EnsembleLoop

        return EnsembleLoop

    def _student(self, attacker: Attacker) -> nn.Module:
        assert attacker.student is not None
        others = [renewed(attacker.student, attacker.seed, number) for number in range(1, self.clones)]
        for clone, weights in zip(others, self.others, strict=False):
            clone.load_state_dict(weights)
        return Ensemble([attacker.student, *others], self.diversity, self.grey)

    def _keep(self, module: DataFree) -> None:
        super()._keep(module)
        clones = cast(Ensemble, module.student).clones
        self.others = [
            {name: value.detach().cpu().clone() for name, value in clone.state_dict().items()}
            for clone in clones[1:]
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return what `Dfme` does, and the weights of the other clones."""
        return super().state_dict() | {"others": self.others}
