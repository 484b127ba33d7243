"""README.md shows what the kept reports say."""

from scripts.benchmarks.table import TABLES, read, training_step
from scripts.results import README, with_table


def test_readme_holds_the_tables_of_the_reports():
    text = README.read_text()
    for name, table in TABLES.items():
        assert with_table(text, name, table()) == text, (
            f"{name}: run python -m scripts.benchmarks.table"
        )


def test_a_cell_is_the_ratio_of_its_row():
    row = read("training_step_onednn")["rows"][0]
    middle, low, high = row["ratios"]["torch"]
    line = next(line for line in training_step() if line.startswith(f"| {row['case']} |"))
    assert line.split(" | ")[-1] == f"{middle:.2f} ({low:.2f} to {high:.2f}) |"
