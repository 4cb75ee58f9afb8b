"""The images of a cell: the victim's own and the test's, and the attacker's pools."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from experiment.keys import Config, DataPrints
from storage.options import instantiate
from victims.datasets.images import ImageSet
from victims.datasets.splits import Splits, check_disjoint, resolve_splits, select, split


@dataclass(frozen=True, eq=False)
class CellData:
    """The images of a cell: the victim's own and the test's, the attacker's pool, and a second one."""

    data: Splits
    pool: ImageSet
    other_pool: ImageSet | None

    @cached_property
    def prints(self) -> DataPrints:
        """The images' content hashes."""
        other = self.other_pool.fingerprint if self.other_pool else None
        return DataPrints(
            self.data.train.fingerprint, self.data.test.fingerprint, self.pool.fingerprint, other
        )


def load_cell_data(plain: Config) -> CellData:
    """Load and cut the images of a cell; raises ValueError or OSError for what cannot be."""
    return CellImages(keep=1).load(plain)


class CellImages:
    """Loads the images of cells, and keeps the data sets and the pools that were needed last."""

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self._kept: dict[str, dict[str, Any]] = {"data": {}, "pool": {}}

    def load(self, plain: Config) -> CellData:
        """The images of a cell; raises ValueError or OSError for what cannot be."""
        dataset, other = plain["dataset"], plain["attack"]["other_pool"]
        data: Splits = self._once("data", [dataset], lambda: _load_data(dataset))

        def pool(choice: Config) -> ImageSet:
            made: ImageSet = self._once("pool", [choice, dataset], lambda: load_pool(choice, dataset, data))
            return made

        return CellData(data, pool(plain["query_pool"]), pool(other) if other else None)

    def _once(self, kind: str, told_by: list[Config], make: Callable[[], Any]) -> Any:
        kept, key = self._kept[kind], json.dumps(told_by, sort_keys=True)
        if key not in kept:
            while len(kept) >= self.keep:
                del kept[next(iter(kept))]
            kept[key] = make()
        return kept[key]


def _load_data(dataset: Config) -> Splits:
    parts = instantiate(dataset["source"], "dataset")
    slices = resolve_splits(dataset["splits"], dataset["split_choices"])
    return split(
        parts,
        slices,
        shuffle_seed=dataset["shuffle_seed"],
        allow_overlap=dataset["allow_overlap"],
        hint=f"splits of this data set: {', '.join(dataset['split_choices'])}",
    )


def load_pool(query_pool: Config, dataset: Config, data: Splits) -> ImageSet:
    """The attacker's pool, in the shape of the victim's images, and none of them the victim's own."""
    if query_pool["source"] is None:
        if query_pool["part"] != "pool":
            raise ValueError(
                f"query_pool.part must be pool, not {query_pool['part']!r}, where the pool is the "
                "data set's own; "
                "dataset.splits says which images those are"
            )
        pool = data.pool
    else:
        pool = select(
            instantiate(query_pool["source"], "query_pool"), query_pool["part"], option="query_pool.part"
        )
    pool = pool.conform(data.train.image_shape)
    if query_pool["source"] is not None and not dataset["allow_overlap"]:
        check_disjoint({"the victim's training data": data.train, "the query pool": pool})
        check_disjoint({"the test images": data.test, "the query pool": pool})
    return pool
