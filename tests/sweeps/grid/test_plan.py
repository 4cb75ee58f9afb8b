"""A sweep's plan: what cells share, what is done, what is refused before anything runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from storage.errors import InputError
from storage.files import write_json
from storage.store import TOOK, Store
from support.commands import ROOT, run_program
from support.grids.running import SMALL
from sweeps.grid.compose import GridComposer, hydra_loader, master_config
from sweeps.grid.plan import Planner
from sweeps.grid.units import Plan
from sweeps.launch.estimate import PRICE_SECONDS, Estimates
from sweeps.launch.folder import SweepFolder, pack

MakePlan = Callable[[Sequence[Sequence[str]]], Plan]


@pytest.fixture
def make_plan(tmp_path: Path) -> Iterator[MakePlan]:
    with hydra_loader(ROOT / "conf") as loader:
        master = master_config(loader)
        paths = [f"paths.store={tmp_path}/store", *SMALL]

        def make(jobs: Sequence[Sequence[str]]) -> Plan:
            planner = Planner(GridComposer(loader, master), tmp_path / "sweep")
            return planner.plan([[*job, *paths] for job in jobs])

        yield make


def grid(*keys: tuple[str, Sequence[str]]) -> list[list[str]]:
    jobs: list[list[str]] = [[]]
    for key, values in keys:
        jobs = [[*job, f"{key}={value}"] for job in jobs for value in values]
    return jobs


def test_cells_share_victims_and_extractions(make_plan: MakePlan) -> None:
    plan = make_plan(
        grid(
            ("attack", ["standard", "jacobian"]),
            ("defense", ["none", "pow"]),
            ("pow_calibration.strength", ["1", "4"]),
            ("seed", ["0", "1"]),
        )
    )
    assert (len(plan.cells), plan.repeated) == (12, 4), "strengths are nothing to cells without a toll"
    assert (plan.count("prepare"), plan.count("extract"), plan.count("price")) == (2, 4, 0)
    extractions = [unit for unit in plan.units if unit.stage == "extract"]
    assert all(len(unit.cells) == 3 for unit in extractions)
    for unit in extractions:
        (needed,) = [one for one in plan.units if one.id == unit.needs]
        assert needed.cells[0].config["seed"] == unit.cells[0].config["seed"]
        assert "honest" in needed.cells[0].preparation, "the toll of some of its cells asks for honest users"


def test_what_a_defense_trains_is_prepared_once(make_plan: MakePlan) -> None:
    strategies = ["none", "adaptive_misinformation", "[adaptive_misinformation,pow]"]
    thresholds = ("defense.adaptive_misinformation.threshold", ["0.5", "0.9"])
    plan = make_plan(grid(("defense", strategies[1:]), thresholds) + grid(("defense", strategies[:1])))
    assert (plan.count("prepare"), plan.count("extract")) == (2, 3)
    prepared = [set(unit.cells[0].preparation) for unit in plan.units if unit.stage == "prepare"]
    assert sorted("auxiliary" in kinds for kinds in prepared) == [False, True]


def test_what_lies_in_the_store_or_the_folder_is_not_planned(make_plan: MakePlan, tmp_path: Path) -> None:
    jobs = grid(("pow_calibration.strength", ["1", "4"]))
    whole = make_plan(jobs)
    first, second = whole.cells
    store = Store(tmp_path / "store")
    for kind, identity in first.preparation.items():
        store.get(kind, identity, lambda path: write_json(path / "result.json", {}))
    plan = make_plan(jobs)
    assert [unit.stage for unit in plan.units] == ["extract"] and plan.units[0].needs is None
    store.get("extractions", first.identity.extraction, lambda path: write_json(path / "result.json", {}))
    plan = make_plan(jobs)
    assert [(unit.stage, len(unit.cells)) for unit in plan.units] == [("price", 2)]
    first.directory.mkdir(parents=True)
    write_json(first.directory / "result.json", {"keys": {"cell": first.key}})
    assert len(make_plan(jobs).units[0].cells) == 2, "a report needs its curve, too"
    (first.directory / "curve.csv").write_text("round\n")
    plan = make_plan(jobs)
    assert [cell.key for cell in plan.units[0].cells] == [second.key]
    (first.directory / "result.json").write_text("{ half")
    assert len(make_plan(jobs).units[0].cells) == 2, "half a result is none"


def test_times_are_estimated_by_what_is_nearest_in_the_store(make_plan: MakePlan, tmp_path: Path) -> None:
    """The same attack and budget; the attack with another budget; another attack; nothing."""
    store = Store(tmp_path / "store")

    def seconds(*overrides: str) -> float | None:
        (unit,) = [unit for unit in make_plan([overrides]).units if unit.stage != "prepare"]
        return Estimates(store.root).seconds(unit)

    def extract(took: float, *overrides: str, budget: int = 300) -> None:
        (cell,) = make_plan([overrides]).cells
        identity = cell.identity.extraction
        identity |= {"attack": identity["attack"] | {"budget": budget}}
        rounds = [{"queries": budget, "query_time": 1.0, "train_time": took - 1}]
        store.get("extractions", identity, lambda path: write_json(path / "result.json", {"rounds": rounds}))

    assert seconds("attack=gap") is None
    extract(30.0, "attack=entropy")
    assert seconds("attack=gap") == 30 + PRICE_SECONDS, "as many queries of another attack"
    extract(50.0, "attack=gap", budget=100)
    assert seconds("attack=gap") == 150 + PRICE_SECONDS, "three times as many of its own"
    extract(70.0, "attack=gap", "seed=1")
    extract(80.0, "attack=gap", "seed=2")
    assert seconds("attack=gap") == 75 + PRICE_SECONDS, "as many of its own"
    assert seconds("attack=gap", "seed=1") == PRICE_SECONDS, "it has been run"


def test_preparations_are_estimated_by_their_parts(make_plan: MakePlan, tmp_path: Path) -> None:
    """By the number of teachers, and with honest users' votes; what is in the store is not made again."""
    store = Store(tmp_path / "store")

    def seconds(*overrides: str) -> float | None:
        (unit,) = [unit for unit in make_plan([overrides]).units if unit.stage == "prepare"]
        return Estimates(store.root).seconds(unit)

    def made(kind: str, took: float, *overrides: str, teachers: int = 3) -> None:
        identity = make_plan([overrides]).cells[0].preparation[kind]
        if kind == "teachers":
            identity |= {"teachers": identity["teachers"] | {"teachers": teachers}}
        store.get(kind, identity, lambda path: write_json(path / TOOK, {"seconds": took}))

    assert seconds() is None
    made("victims", 10.0, "seed=7")
    made("teachers", 24.0, "seed=7", teachers=12)
    made("honest", 3.0, "seed=7")
    assert seconds() == pytest.approx(10 + 24 / 4 + 3), "three teachers, not twelve"
    made("victims", 10.0)
    assert seconds() == pytest.approx(24 / 4 + 3)


def test_processes_share_the_time(make_plan: MakePlan, tmp_path: Path) -> None:
    """Four extractions of 100 s; no process takes less than one."""
    store = Store(tmp_path / "store")
    (done,) = make_plan([["seed=9", "attack=gap"]]).cells
    budget = done.config["attack"]["budget"]
    rounds = [{"queries": budget, "query_time": 1.0, "train_time": 98.0}]
    result = {"rounds": rounds}
    identity = done.identity.extraction
    store.get("extractions", identity, lambda path: write_json(path / "result.json", result))
    plan = make_plan(grid(("seed", ["0", "1", "2", "3"]), ("attack", ["gap"])))
    estimates = Estimates(store.root)
    assert "about 6.7 minutes if run one after another" in estimates.sentence(plan)
    assert "about 3.3 minutes over 2 processes" in estimates.sentence(plan, 2)
    assert "about 100 s over 64 processes" in estimates.sentence(plan, 64)


def test_a_damaged_victim_is_planned_again(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan([[]])
    store = Store(tmp_path / "store")
    for kind, identity in plan.cells[0].preparation.items():
        path = store.get(kind, identity, lambda path: write_json(path / "result.json", {})).path
    assert make_plan([[]]).count("prepare") == 0
    (path / "result.json").write_text("damaged")
    assert make_plan([[]]).count("prepare") == 1


def test_two_cells_in_a_folder_or_another_cells_result_are_refused(make_plan: MakePlan) -> None:
    plan = make_plan(grid(("seed", ["0", "1"])))
    directory = plan.cells[1].directory
    directory.mkdir(parents=True)
    write_json(directory / "result.json", {"keys": {"cell": "of another"}})
    with pytest.raises(InputError, match="holds the result of another cell than seed=1"):
        make_plan(grid(("seed", ["0", "1"])))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["attack=dfme,standard", "attack.answers=hard"], "attack.answers=hard is not enough"),
        (["seed=0,1", "attack.budget=5000"], "is more than the 697 images"),
        (["pow_calibration=paper,linear", "puzzle=argon2id"], "argon2id"),
        (["seed=0,1", "hydra.sweep.subdir=one"], "hydra.sweep.subdir gives one to two cells"),
        (["seed=0,1", "attack.budgt=3"], "attack.budgt"),
    ],
)
def test_what_cannot_work_is_said_before_anything_runs(
    tmp_path: Path, overrides: list[str], said: str
) -> None:
    given = {override.split("=")[0] for override in overrides}
    small = [option for option in SMALL if option.split("=")[0] not in given]
    paths = [f"paths.store={tmp_path}/store", f"hydra.sweep.dir={tmp_path}/sweep"]
    process = run_program("run.py", "-m", *small, *paths, *overrides, "hydra/launcher=local")
    assert process.returncode == 1
    assert said in process.stderr and "Traceback" not in process.stderr
    assert not (tmp_path / "sweep" / ".tollgate").exists()


def test_a_dry_run_prints_the_plan_and_runs_nothing(tmp_path: Path) -> None:
    paths = [f"paths.store={tmp_path}/store", f"hydra.sweep.dir={tmp_path}/sweep"]
    process = run_program(
        "run.py", "-m", *SMALL, *paths, "attack=standard,knockoff", "seed=0,1,2", "--dry-run"
    )
    assert process.returncode == 0, process.stderr
    assert "6 cells, 0 of them done" in process.stdout
    assert "3 victims (3 to prepare), 6 extractions (6 to run" in process.stdout
    assert "knockoff on digits: 3 cells, 3 to do" in process.stdout
    assert not (tmp_path / "sweep" / ".tollgate").exists()
    assert not (tmp_path / "store" / "victims").exists()


def test_small_cells_are_packed_by_stage_and_need(make_plan: MakePlan) -> None:
    plan = make_plan(
        grid(("attack", ["standard", "entropyrev", "entropy", "gap", "greedy"]), ("seed", ["0", "1"]))
    )
    jobs = pack(plan.units, {"prepare": 1, "extract": 2, "price": 64})
    assert sorted(len(job.units) for job in jobs) == [1, 1, 1, 1, 2, 2, 2, 2]
    assert {unit.id for job in jobs for unit in job.units} == {unit.id for unit in plan.units}
    for job in jobs:
        assert len({(unit.stage, unit.needs) for unit in job.units}) == 1


def test_plans_are_written_as_json(make_plan: MakePlan, tmp_path: Path) -> None:
    """What a job is given holds plain values only."""
    for cell in make_plan([["attack=inoutdist"]]).cells:
        assert json.loads(json.dumps(cell.config)) == cell.config


def test_a_job_keeps_the_order_of_the_config(make_plan: MakePlan, tmp_path: Path) -> None:
    """Defenses are applied in their order, and measures are a curve's columns."""
    plan = make_plan([["defense=[rounding,pow]"], ["defense=[top_k,rounding]"]])
    folder = SweepFolder(tmp_path / "sweep")
    (job,) = pack([unit for unit in plan.units if unit.stage != "prepare"], {"extract": 9})[:1]
    written = json.loads(folder.write_job(job, {}).read_text())
    for unit, given in zip(written["units"], job.units, strict=True):
        for cell, planned in zip(unit["cells"], given.cells, strict=True):
            assert list(cell["config"]["defense"]) == list(planned.config["defense"])
            assert json.dumps(cell["config"]) == json.dumps(planned.config)
