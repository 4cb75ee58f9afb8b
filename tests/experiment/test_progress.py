from __future__ import annotations

import pytest

from experiment.progress import query_bar


def test_a_terminal_sees_the_budget_being_spent(capsys: pytest.CaptureFixture[str]) -> None:
    with query_bar(300, shown=True) as spent:
        for queries in (100, 200, 300):
            spent(queries)
    written = capsys.readouterr()
    assert "extraction" in written.err and "0/300" in written.err
    assert written.out == ""


def test_a_log_sees_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with query_bar(300, shown=False) as spent:
        spent(300)
    assert capsys.readouterr() == ("", "")
