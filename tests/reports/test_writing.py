from pathlib import Path

import pytest

from reports.writing import write_whole


class RoomError(Exception):
    """Of some room."""


def test_a_file_replaces_an_older_one_and_leaves_nothing_beside(tmp_path: Path) -> None:
    target = tmp_path / "new" / "report.html"
    for contents in ("eins", "Größe 44, 黑色"):
        write_whole(target, contents, RoomError)
    assert target.read_text(encoding="utf-8") == contents
    assert list(target.parent.iterdir()) == [target]


def test_what_cannot_be_written_is_one_sentence_of_the_room(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    for target in (tmp_path / "directory", tmp_path / "file" / "report.html"):
        with pytest.raises(RoomError, match=rf"{target} cannot be written \(.+\); choose another place"):
            write_whole(target, "", RoomError)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directory", "file"]
