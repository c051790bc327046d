import logging
import math
from functools import partial

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from qmcnet.report.csv_table import cut_back
from qmcnet.report.hparams import write_hparams
from qmcnet.report.writers import FIRST_COLUMNS, Writer
from qmcnet.stages.burn_in import BurnIn
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.fetch import fetch
from qmcnet.stages.optimization import Optimization

ROW = {"variance": 0.25, "energy": -2.9, "pmove": 0.5, "ewvar": 0.0, "ewmean": -2.8, "grad_norm": 1e-17}


def writer_of(folder, stage, step):
    return Writer(folder, stage.table, partial(stage.tag, stage), step)


def scalars(folder):
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def test_fetch_mixes_tensors_and_numbers_in_order():
    rows = [
        {"a": torch.tensor(1.5), "b": 2, "c": torch.tensor(3)},
        {"a": torch.tensor(-1.0, dtype=torch.float64), "b": 0.1, "c": torch.tensor(True)},
    ]
    assert fetch(iter(rows)) == [{"a": 1.5, "b": 2.0, "c": 3.0}, {"a": -1.0, "b": 0.1, "c": 1.0}]
    assert fetch([{"a": 1}]) == [{"a": 1.0}]
    assert fetch([]) == []


def test_fetch_keeps_all_digits_of_float64():
    value = 1 / 3
    assert fetch([{"a": torch.tensor(value, dtype=torch.float64)}]) == [{"a": value}]


def test_first_columns_and_exact_values(tmp_path):
    writer = writer_of(tmp_path, Optimization, 0)
    writer.write([(1, ROW), (2, ROW | {"energy": 0.1 + 0.2})])
    writer.write([])
    writer.write([(3, ROW)])
    writer.close()
    header, *lines = (tmp_path / "train_stats.csv").read_text().splitlines()
    assert header.split(",") == [*FIRST_COLUMNS, "variance", "grad_norm"]
    assert FIRST_COLUMNS == ("step", "energy", "ewmean", "ewvar", "pmove")
    assert [line.split(",")[0] for line in lines] == ["1", "2", "3"]
    assert [float(x) for x in lines[1].split(",")] == [2, 0.1 + 0.2, -2.8, 0.0, 0.5, 0.25, 1e-17]


def test_other_stages_have_a_file_of_their_own(tmp_path):
    writer = writer_of(tmp_path, BurnIn, 0)
    writer.write([(1, {"width": 0.2, "pmove": 0.5})])
    writer.close()
    assert (tmp_path / "burn_in_stats.csv").read_text() == "step,pmove,width\n1,0.5,0.2\n"
    assert set(scalars(tmp_path)) == {"burn_in/width", "burn_in/pmove"}


@pytest.mark.parametrize(("last_step", "kept", "dropped"), [(0, [], 3), (1, ["1"], 2), (3, ["1", "2", "3"], 0)])
def test_cut_back_drops_later_rows(tmp_path, last_step, kept, dropped):
    path = tmp_path / "stats.csv"
    path.write_text("step,energy\n1,-1.0\n2,-2.0\n3,-3.0\n")
    assert cut_back(path, last_step) == (dropped, [])
    assert path.read_text() == "step,energy\n" + "".join(f"{step},-{step}.0\n" for step in kept)


@pytest.mark.parametrize("tail", ["2", "20", "20,", "20,-9", "20,-9.0,", "20,-9.0,0"])
def test_cut_back_drops_a_line_cut_short_by_a_crash(tmp_path, tail):
    path = tmp_path / "stats.csv"
    whole = "step,energy,pmove\n1,-8.0,0.5\n2,-9.0,0.5\n"
    path.write_text(whole + tail)
    assert cut_back(path, 2) == (1, [])
    assert path.read_text() == whole


def test_steps_that_are_lost_stand_in_the_table_as_nan(tmp_path, caplog):
    path = tmp_path / "train_stats.csv"
    path.write_text("step,energy,pmove\n2,-2.0,0.5\n\0\ufffd,3\n4,-4.0,0.5\n")
    writer = writer_of(tmp_path, Optimization, 5)
    writer.write([(6, {"energy": -6.0, "pmove": 0.5})])
    writer.close()
    rows = ["1,nan,nan", "2,-2.0,0.5", "3,nan,nan", "4,-4.0,0.5", "5,nan,nan", "6,-6.0,0.5"]
    assert path.read_text().splitlines() == ["step,energy,pmove", *rows]
    assert "train_stats.csv lacks 3 of the steps 1 to 5: they are nan" in caplog.text


def test_a_table_that_is_gone_begins_with_what_is_lost(tmp_path):
    writer = writer_of(tmp_path, Optimization, 2)
    for step in (3, 4):
        writer.write([(step, {"energy": -1.0, "pmove": 0.5})])
    writer.close()
    expected = "step,energy,pmove\n1,nan,nan\n2,nan,nan\n3,-1.0,0.5\n4,-1.0,0.5\n"
    assert (tmp_path / "train_stats.csv").read_text() == expected


def test_cut_back_of_nothing(tmp_path):
    assert cut_back(tmp_path / "absent.csv", 0) == (0, [])
    assert not (tmp_path / "absent.csv").exists()


def test_a_file_left_empty_by_a_crash_still_gets_its_header(tmp_path):
    (tmp_path / "train_stats.csv").touch()
    writer = writer_of(tmp_path, Optimization, 0)
    writer.write([(1, ROW)])
    writer.close()
    assert (tmp_path / "train_stats.csv").read_text().startswith("step,energy,ewmean,ewvar,pmove")


def test_a_resumed_writer_rewrites_what_came_after_the_checkpoint(tmp_path, caplog):
    writer = writer_of(tmp_path, Optimization, 0)
    writer.write([(step, ROW) for step in (1, 2, 3)])
    writer.close()
    whole = (tmp_path / "train_stats.csv").read_text()
    with caplog.at_level(logging.INFO):
        writer = writer_of(tmp_path, Optimization, 1)
    assert "2 rows after step 1 will be written again" in caplog.text
    writer.write([(step, ROW) for step in (2, 3)])
    writer.close()
    assert (tmp_path / "train_stats.csv").read_text() == whole


def test_every_tag_arrives_in_its_group(tmp_path):
    writer = writer_of(tmp_path, Optimization, 0)
    row = {
        "energy": -1.0,
        "ewmean": -1.5,
        "ewvar": 0.25,
        "kinetic": 2.0,
        "pmove": 0.5,
        "learning_rate": 0.125,
        "custom": 4.0,
    }
    writer.write([(1, row), (2, row)])
    writer.scalar("timing/seconds_per_step", 0.5, 2)
    writer.close()
    tags = {"energy/mean": -1.0, "energy/ewmean": -1.5, "energy/ewvar": 0.25, "local_energy/kinetic": 2.0}
    tags |= {"sampling/pmove": 0.5, "opt/learning_rate": 0.125, "opt/custom": 4.0}
    expected = {tag: [(1, value), (2, value)] for tag, value in tags.items()}
    assert scalars(tmp_path) == expected | {"timing/seconds_per_step": [(2, 0.5)]}


FRAME = torch.tensor([[1.0, 0.5, 0.0], [-0.3, 1.0, 0.2], [0.1, 0.0, 1.0]], dtype=torch.float64)


def matrix_of(*eigenvalues):
    return torch.linalg.inv(FRAME) @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ FRAME


def test_fetch_gives_a_matrix_as_its_eigenvalues_in_ascending_order():
    rows = [
        {"a": 1.0, "state": matrix_of(3.0, -1.0, 2.0), "b": torch.tensor(5.0)},
        {"a": torch.tensor(2.0), "state": matrix_of(-7.0, 0.5, -8.0), "b": 6},
    ]
    fetched = fetch(rows)
    assert [list(row) for row in fetched] == [["a", "state_0", "state_1", "state_2", "b"]] * 2
    assert list(fetched[0].values()) == pytest.approx([1, -1, 2, 3, 5], abs=1e-12)
    assert list(fetched[1].values()) == pytest.approx([2, -8, -7, 0.5, 6], abs=1e-12)


def test_fetch_gives_complex_pairs_as_their_real_parts():
    rotation = torch.tensor([[1.0, -2.0], [2.0, 1.0]])
    assert fetch([{"state": rotation}]) == [{"state_0": pytest.approx(1), "state_1": pytest.approx(1)}]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_fetch_of_a_matrix_that_is_not_finite(bad):
    matrix = matrix_of(1.0, 2.0, 3.0)
    matrix[1, 2] = bad
    (row,) = fetch([{"state": matrix}])
    assert list(row) == ["state_0", "state_1", "state_2"]
    assert all(math.isnan(value) for value in row.values())


@pytest.mark.parametrize(("stage", "group"), [(Optimization, "energy"), (Evaluation, "evaluation")])
def test_states_have_columns_and_tags(tmp_path, stage, group):
    writer = writer_of(tmp_path, stage, 0)
    row = fetch([{"state": matrix_of(3.0, -1.0, 2.0), "energy": 4.0}])[0]
    writer.write([(1, row)])
    writer.close()
    table = next(tmp_path.glob("*.csv")).read_text().splitlines()
    assert table[0] == "step,energy,state_0,state_1,state_2"
    assert [float(x) for x in table[1].split(",")] == pytest.approx([1, 4, -1, 2, 3])
    found = scalars(tmp_path)
    assert [found[f"{group}/state_{i}"][0][1] for i in range(3)] == pytest.approx([-1, 2, 3])


def test_the_settings_of_a_run_are_one_entry_of_hparams(tmp_path):
    settings = {"typed": "+system=He", "ansatz._target_": "FermiNet", "steps": 3, "system.symbols": ["He"]}
    for energy in (-1.0, -2.0):
        write_hparams(tmp_path, settings, {"energy": energy})
    (path,) = (tmp_path / "hparams").glob("events*")
    events = EventAccumulator(str(path)).Reload()
    assert [event.value for event in events.Scalars("hparam/energy")] == [-2.0]
    plugin = HParamsPluginData.FromString(events.summary_metadata["_hparams_/session_start_info"].plugin_data.content)
    assert set(plugin.session_start_info.hparams) == {"typed", "steps"}
    assert "_hparams_/experiment" not in events.summary_metadata  # which would hide the settings of other runs


def test_a_run_without_an_energy_is_no_entry(tmp_path):
    write_hparams(tmp_path, {"steps": 3}, {"energy": None})
    assert not (tmp_path / "hparams").exists()
