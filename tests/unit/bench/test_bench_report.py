"""What benchmarks say, and how it is shown."""

from __future__ import annotations

import importlib
import json

import bench.__main__ as command
import pytest
from bench import report, row
from bench.row import Row

ROWS = [
    row.at_least("0 to 30 replicas running", 0.25, "s", "Docker Swarm: 2.50 s", 2.5 / 0.25, 10),
    row.at_most("0 to 30 replicas running", 0.25, "s", "bare crun: 0.1 s", 2.5, 1.5),
    row.told("placements", 12345.6, "1/s", "nobody", None),
]


@pytest.mark.parametrize("name", command.BENCHMARKS)
def test_every_benchmark_of_the_registry_can_be_run_and_says_what_it_measures(name: str) -> None:
    module = importlib.import_module(f"bench.{name}")
    assert callable(module.run)
    assert len(module.__doc__.split(".")[0]) > 20


def test_budgets_are_judged_by_the_ratio_or_by_the_value() -> None:
    assert [r["ok"] for r in ROWS] == [True, False, True]
    assert row.within("start", 0.4, "s", "dockerd", 2.0, 0.5)["ok"]
    missed = row.within("start", 0.6, "s", "dockerd", 2.0, 0.5)
    assert not missed["ok"]
    assert missed["budget"] == "<= 0.5 s"


def test_the_table_is_aligned_and_shouts_what_was_missed() -> None:
    head, good, bad, plain = report.table(ROWS).splitlines()
    assert good.endswith("10x  >= 10x   ok")
    assert bad.endswith("2.5x  <= 1.5x  MISSED")
    assert "12,300 1/s" in plain
    assert head.index("peer") == good.index("Docker") == bad.index("bare") == plain.index("nobody")


def test_the_page_has_the_machine_the_figures_and_where_the_time_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report, "describe", lambda: {"processor": "Abacus, 2 cores"})
    page = report.markdown({"replicas": ROWS, "scheduler": []})
    assert "- processor: Abacus, 2 cores" in page
    assert "| 0 to 30 replicas running | 0.25 s | bare crun: 0.1 s | 2.5x | <= 1.5x | MISSED |" in page
    assert importlib.import_module("bench.replicas").NOTE in page


def test_one_benchmark_is_told_anew_and_the_rest_of_the_page_stays() -> None:
    page = report.markdown({"replicas": ROWS, "scheduler": [], "agreement": []})
    again = report.renewed(page, {"scheduler": ROWS[2:], "discovery": []})
    names = [line for line in again.splitlines() if line.startswith("## ")]
    assert names == ["## The machine", "## replicas", "## scheduler", "## agreement", "## discovery"]
    assert "| placements | 12,300 1/s | nobody |  |  |  |\n" in again
    assert report.renewed(again, {"scheduler": [], "discovery": []}) == report.renewed(
        page, {"discovery": []}
    )


def test_a_program_gets_a_list_of_results(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> list[Row]:
        return ROWS

    monkeypatch.setattr(importlib.import_module("bench.ledger"), "run", run)
    monkeypatch.setattr("sys.argv", ["bench", "ledger", "--json"])
    command.main()
    assert json.loads(capsys.readouterr().out) == ROWS


def test_an_unknown_benchmark_is_refused_with_those_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "replica"])
    with pytest.raises(SystemExit):
        command.main()
    assert "there is no benchmark 'replica'; there are: replicas, containerd" in capsys.readouterr().err
