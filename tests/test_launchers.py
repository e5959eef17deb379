"""Hydra's other launchers execute the same batches; settings of ours for SLURM. tests/slurm has a real SLURM."""

import os
from pathlib import Path

import pytest
from command_line import NO_SHEET, PROJECT, QUICK, Said, apart, here, ids, records, said, store

GRID = ("-m", *QUICK, NO_SHEET, "layer=early", "objective.channel=range(0,2)", "compute.batch_size=1")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sweep(folder: Path, *overrides: str) -> Said:
    environment = {
        "PYTHONPATH": os.pathsep.join((str(PROJECT), str(PROJECT / "tests"), os.environ.get("PYTHONPATH", ""))),
        "HOME": str(folder),  # where ray writes
    }
    return said(apart(folder, *GRID, *overrides, environment=environment))


def check(done: Said) -> None:
    assert done.status == 0, done.out + done.err
    assert sorted(record["run_id"] for record in records()) == sorted(ids(*GRID[1:]))
    assert not list((store().root / "claims").glob("*"))


def test_joblib_executes_a_sweep(folder):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs 'interpret-runs[joblib]'")
    check(sweep(folder, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"))


def test_ray_executes_a_sweep(folder):
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="needs 'interpret-runs[ray]'")
    alone = ("+hydra.launcher.ray.init.num_cpus=1", "+hydra.launcher.ray.init.include_dashboard=false")
    check(sweep(folder, "hydra/launcher=ray", *alone))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("batches_per_job=0", "hydra.launcher.batches_per_job is 0; it is a whole number from 1 on"),
        ("max_num_timeout=-1", "hydra.launcher.max_num_timeout is -1; it is a whole number from 0 on"),
        ("timeout_min=1.5", "hydra.launcher.timeout_min is 1.5; it is a whole number from 1 on"),
        ("array_parallelism=many", "hydra.launcher.array_parallelism is 'many'; it is a whole number from 1 on"),
        ("signal_delay_s=3600", "hydra.launcher.signal_delay_s is 3600 s, of jobs of 60 min: no time would be left"),
    ],
)
def test_a_setting_of_slurm_jobs_that_cannot_be_is_refused(override, said):
    assert here("-m", "hydra/launcher=slurm", f"hydra.launcher.{override}", "sweep.dry_run=true").error.startswith(said)


def test_a_machine_without_slurm_plans_for_it_and_says_that_it_cannot_submit(monkeypatch):
    pytest.importorskip("submitit", reason="needs 'interpret-runs[slurm]'")
    monkeypatch.setenv("PATH", "")
    assert here("-m", "hydra/launcher=slurm", "sweep.dry_run=true").status == 0
    assert here("-m", "hydra/launcher=slurm").error.startswith("there is no sbatch here")
    assert not Path("outputs").exists()


def test_slurm_without_submitit_names_what_to_install(monkeypatch):
    monkeypatch.setattr("interpret_runs.runner.slurm.find_spec", lambda _: None)
    assert here("-m", "hydra/launcher=slurm").error == (
        "hydra/launcher=slurm needs submitit: pip install 'interpret-runs[slurm]'"
    )


def test_jobs_that_are_no_batches_are_not_for_our_slurm(monkeypatch, folder):
    """As another sweeper makes them."""
    pytest.importorskip("submitit", reason="needs 'interpret-runs[slurm]'")
    (folder / "sbatch").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(folder))
    done = here("-m", *QUICK, "hydra/launcher=slurm", "hydra/sweeper=basic")
    assert "hydra/launcher=slurm executes the batches of hydra/sweeper=grid" in done.error
