"""Recipes of the data-free attacks, small enough for the tests' victim."""

from __future__ import annotations

from extraction.attacks.dfme import Dfme
from extraction.attacks.disguide import Disguide
from extraction.attacks.maze import Maze
from extraction.learning.data_free import DataFreeRecipe

RECIPES = {
    Dfme: DataFreeRecipe(batch_size=64, latent=32, width=16, student_rate=0.05, generator_rate=1e-3),
    Maze: DataFreeRecipe(
        batch_size=64,
        latent=32,
        width=16,
        student_rate=0.05,
        generator_rate=1e-3,
        directions=4,
        disagreement="kl",
        generator_optimizer="sgd",
        reuse=True,
        replay_steps=4,
    ),
    Disguide: DataFreeRecipe(
        batch_size=64,
        latent=32,
        width=16,
        student_rate=0.03,
        generator_rate=1e-3,
        student_steps=1,
        directions=0,
        replay_steps=3,
    ),
}
