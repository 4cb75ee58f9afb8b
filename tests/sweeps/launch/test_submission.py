"""What SLURM does not take: all at once, one of the jobs, or any."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import InputError
from support.grids.played_slurm import job, play
from sweeps.launch.cluster.slurm import SlurmLauncher
from sweeps.launch.folder import SweepFolder


def launcher() -> SlurmLauncher:
    stages = {"prepare": {"timeout_min": 10}, "extract": {"timeout_min": 10}, "price": {"timeout_min": 10}}
    return SlurmLauncher({}, stages)  # type: ignore[arg-type] # the stages


def refusing(said: str, when: str) -> str:
    return f'if {when}; then echo "sbatch: error: {said}" >&2; exit 1; fi'


@pytest.mark.parametrize(
    "said",
    [
        "invalid partition specified: nowhere",
        "Batch job submission failed: Invalid account or account/partition combination specified",
        "Batch job submission failed: Requested node configuration is not available",
        "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size "
        "and/or time limits)",
    ],
)
def test_a_refusal_is_one_sentence(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(tmp_path / "bin", monkeypatch, refusing(said, "true"))
    folder = SweepFolder(tmp_path / "sweep")
    with pytest.raises(InputError) as refused:
        launcher().start([job(folder.directory, "one")], folder, {})
    assert str(refused.value) == f"hydra.launcher: SLURM takes no jobs of stage extract: {said}"
    assert folder.jobs() == {}


def test_after_a_refusal_nothing_is_submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The preparation is taken, the cells are not: the preparation is cancelled."""
    bad = refusing("invalid partition specified: nowhere", 'grep -q "tollgate extract" "$1"')
    play(tmp_path / "bin", monkeypatch, bad, squeue="1|PENDING|None")
    folder = SweepFolder(tmp_path / "sweep")
    jobs = [job(folder.directory, "prepare-v", "prepare"), job(folder.directory, "one", needs="prepare-v")]
    with pytest.raises(InputError, match="nowhere"):
        launcher().start(jobs, folder, {})
    assert "scancel 1\n" in (tmp_path / "bin" / "asked").read_text()
    assert folder.jobs() == {}


def test_the_cluster_says_how_many_jobs_an_array_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(tmp_path / "bin", monkeypatch, scontrol="MaxArraySize            = 3\nMaxJobCount = 10000")
    folder = SweepFolder(tmp_path / "sweep")
    launcher().start([job(folder.directory, f"cell{number}") for number in range(7)], folder, {})
    assert [record["job"] for record in folder.jobs().values()] == [
        *("1_0", "1_1", "1_2", "2_0", "2_1", "2_2", "3"),
    ]


def test_what_is_too_much_at_a_time_is_submitted_in_portions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user may have two jobs: the rest waits, and goes when there is room."""
    many = "AssocMaxSubmitJobLimit"
    too_many = refusing(many, 'grep -q "array=0-[2-9]" "$1" || [ -e {folder}/full ]').replace(
        "{folder}", str(tmp_path / "bin")
    )
    play(tmp_path / "bin", monkeypatch, f"{too_many}; touch {tmp_path}/bin/full")
    folder = SweepFolder(tmp_path / "sweep")
    one = launcher()
    one.start([job(folder.directory, f"cell{number}") for number in range(5)], folder, {})
    assert set(folder.jobs()) == {"cell0", "cell1"} and one.waiting() == {"cell2", "cell3", "cell4"}
    one.step()
    assert len(folder.jobs()) == 2, "there is no room yet"
    for _ in range(3):
        (tmp_path / "bin" / "full").unlink(missing_ok=True)
        one.step()
    assert len(folder.jobs()) == 5 and one.waiting() == set()


def test_cells_that_wait_longer_than_their_victim_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They need no dependency where the victim is there, and do not run where it failed."""
    play(tmp_path / "bin", monkeypatch, sacct="1|COMPLETED|0:0|n1\n2|FAILED|1:0|n1")
    folder = SweepFolder(tmp_path / "sweep")
    folder.root.mkdir(parents=True)
    made = {"launcher": "slurm", "needs": None}
    folder.set_jobs({"prepare-a": made | {"job": "1"}, "prepare-b": made | {"job": "2"}})
    root = folder.directory
    launcher().start([job(root, "a", needs="prepare-a"), job(root, "b", needs="prepare-b")], folder, {})
    assert "dependency" not in (tmp_path / "bin" / "script").read_text()
    assert folder.jobs()["a"]["job"] and folder.jobs()["b"]["job"] is None


def test_what_slurm_holds_after_a_lost_node_is_let_go_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = "1|PENDING|launch failed requeued held"
    play(tmp_path / "bin", monkeypatch, squeue=held)
    folder = SweepFolder(tmp_path / "sweep")
    one = launcher()
    one.start([job(folder.directory, "one")], folder, {})
    for _ in range(2):
        one.step()
    assert (tmp_path / "bin" / "asked").read_text().count("scontrol release 1\n") == 1


def test_a_cluster_that_is_silent_for_a_while_loses_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(tmp_path / "bin", monkeypatch, squeue="1|PENDING|None")
    folder = SweepFolder(tmp_path / "sweep")
    one = launcher()
    one.start([job(folder.directory, "v", "prepare")], folder, {})
    play(tmp_path / "bin", monkeypatch, squeue=None)
    one.portions, one.largest = [[job(folder.directory, "a", needs="v")]], {"extract": None}
    folder.write_job(one.portions[0][0], {})
    one.step()
    assert one.waiting() == {"a"}
    play(tmp_path / "bin", monkeypatch, squeue="1|PENDING|None")
    one.step()
    assert one.waiting() == set()
    assert "--dependency=afterok:1\n" in (tmp_path / "bin" / "script").read_text()
