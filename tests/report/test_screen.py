from dataclasses import replace

from rich.console import Console

from lean3d.report.screen import Screen, Shown, table

CAMERA = Shown("camera:0", 120, 24.96, 31.2, 58.8, 7, [("wave", 0.75), ("still", 0.25)])


def text(parts):
    console = Console(width=80, force_terminal=False)
    with console.capture() as said:
        console.print(table(parts))
    return said.get()


def test_a_video_has_its_rate_its_times_its_drops_and_its_classes():
    said = text({0: CAMERA})
    rates = "frame 120, 25.0 fps", "median 31.2 ms", "p99 58.8 ms", "7 dropped"
    for part in ("camera:0", *rates, "75 % wave", "25 % still"):
        assert part in said
    assert said.count("█") == 12 + 4


def test_a_long_name_shows_its_end():
    long = replace(CAMERA, name="/a/folder/of/many/videos/of/a/long/day/evening.mp4")
    assert "…/of/a/long/day/evening.mp4"[-23:] in text({0: long})


def test_every_video_has_its_place():
    film = Shown("film.mp4", 3, 9.0, 1.0, 2.0, 0, [("up", 1.0)])
    said = text({1: film, 0: CAMERA})
    assert said.index("camera:0") < said.index("film.mp4")


def test_nothing_is_drawn_where_nobody_looks(capsys):
    with Screen() as screen:
        screen.show(0, CAMERA)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_the_table_on_stderr(capsys, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "80")
    with Screen() as screen:
        screen.show(0, CAMERA)
    out, err = capsys.readouterr()
    assert out == ""
    assert "camera:0" in err
    assert "75 % wave" in err
