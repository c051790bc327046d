import logging
from types import SimpleNamespace

import pytest
from rich.console import Console

from qmcnet.report import progress
from qmcnet.report.progress import StageProgress


@pytest.fixture
def terminal(monkeypatch, request):
    monkeypatch.setattr(progress, "Console", lambda **_: Console(stderr=True, force_terminal=request.param))


@pytest.mark.parametrize("terminal", [False], indirect=True)
def test_a_log_file_gets_lines(terminal, caplog):
    with caplog.at_level(logging.INFO):
        shown = StageProgress("optimization", 0.0)
        shown.show(5, 20, "E -2.90000")
        shown.close()
    assert shown.bar is None
    assert [record.getMessage() for record in caplog.records] == ["optimization 5/20  E -2.90000"]


@pytest.mark.parametrize("terminal", [False], indirect=True)
def test_lines_come_no_more_often_than_asked(terminal, caplog, monkeypatch):
    clock = iter([0.0, 10.0, 30.0, 30.0, 45.0, 61.0, 61.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with caplog.at_level(logging.INFO):
        shown = StageProgress("burn_in", 30.0)
        for step in range(1, 5):
            shown.show(step, 9, "")
    assert [record.getMessage().strip() for record in caplog.records] == ["burn_in 2/9", "burn_in 4/9"]


@pytest.mark.parametrize("terminal", [True], indirect=True)
def test_a_terminal_gets_a_bar_and_no_lines(terminal, caplog, capsys):
    with caplog.at_level(logging.INFO):
        shown = StageProgress("optimization", 0.0)
        shown.show(5, 20, "E -2.90000")
        shown.bar.refresh()
        shown.close()
    assert not caplog.records
    written = capsys.readouterr().err
    assert "5/20" in written
    assert "E -2.90000" in written


def test_a_notebook_is_no_terminal(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert StageProgress("optimization", 30.0).bar is None
