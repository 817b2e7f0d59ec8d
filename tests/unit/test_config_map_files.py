"""Value maps in files: what they mean, and what is wrong with them, by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdcd import config, config_columns
from cdcd.config_map_files import read_map, with_map_files
from cdcd.errors import ConfigError


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "colours.csv"
    path.write_text(text, "utf-8")
    return path


def test_each_line_counts_both_ways(tmp_path: Path):
    assert read_map(written(tmp_path, 'column,field\n1,red\n\n"2","blue, dark"\n')) == (
        {"1": "red", "2": "blue, dark"},
        {},
    )


def test_a_byte_order_mark_and_blanks_in_the_headings_are_no_matter(tmp_path: Path):
    assert read_map(written(tmp_path, "\ufeffcolumn, field\n1,red\n")) == ({"1": "red"}, {})


def test_of_several_column_values_the_one_that_is_not_marked_is_written(tmp_path: Path):
    text = "column,field,way\n1,red,\n01,red,read\n9,gone,write\n"
    assert read_map(written(tmp_path, text)) == ({"1": "red", "01": "red"}, {"red": "1", "gone": "9"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "colours.csv:1: it is empty; the first line must be column,field"),
        ("1,red\n", "colours.csv:1: the first line is not column,field"),
        ("column,field\n1,red\n2\n", "colours.csv:3: it has 1 cells, the first line has 2"),
        ("column,field\n1,red\n\n1,blue\n", "colours.csv:4: column value '1' is already in line 2"),
        ("column,field\n1,red\n2,red\n", "colours.csv:3: 'red' would be written as here or as in line 2; mark one"),
        ("column,field,way\n1,red,both\n", "colours.csv:2: way is 'both'; leave it empty, or write read or write"),
        ("column,field,way\n1,red,read\n", "colours.csv:2: nothing would be written for 'red'"),
        ('column,field\n1,"red\n', "colours.csv:2: unexpected end of data"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, text: str, said: str):
    with pytest.raises(ConfigError) as caught:
        read_map(written(tmp_path, text))
    assert said in caught.value.what
    assert caught.value.remedy


def test_a_file_that_cannot_be_read_says_where_it_was_looked_for(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        read_map(tmp_path / "no.csv")
    assert "begins in the directory of the configuration file" in caught.value.remedy
    (tmp_path / "latin.csv").write_bytes(b"column,field\n1,gr\xfcn\n")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_map(tmp_path / "latin.csv")


def test_maps_are_filled_in_for_columns_steps_and_children(tmp_path: Path):
    written(tmp_path, "column,field\n1,red\n")
    step = config_columns.Transform(map_file="colours.csv", write={"blue": "1"})
    columns = {
        "a": "a",
        "b": config_columns.Column("b", map_file="colours.csv"),
        "c": config_columns.Column("c", steps=[step]),
    }
    binding = config.Binding("t", columns, children={"lines": config.ChildBinding("l", "t_id", columns)})
    entity = config.Entity(["a"], {}, {"erp": binding})
    loaded = config.Config(config.Daemon("d", "/d"), {}, entities={"e": entity})
    filled = with_map_files(loaded, tmp_path).entities["e"].bindings["erp"]
    for found in (filled.columns, filled.children["lines"].columns):
        assert found["a"] == "a"
        assert found["b"].map == {"1": "red"}
        assert (found["c"].steps[0].map, found["c"].steps[0].write) == ({"1": "red"}, {"blue": "1"})
