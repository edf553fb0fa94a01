from lean3d.report.drawing import new_figure, plain_axes, save_figure


def draw():
    figure = new_figure(3, 2)
    axes = figure.subplots()
    axes.plot([1, 2, 3])
    plain_axes(axes, "x", "y")
    return figure


def test_a_figure_is_saved_as_vectors_and_pixels_and_the_same_twice(tmp_path):
    for name in ("one", "two"):
        save_figure(draw(), tmp_path / name)
    for kind, start in (("svg", b"<?xml"), ("png", b"\x89PNG")):
        one, two = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("one", "two"))
        assert one.startswith(start)
        assert one == two
    assert len(list(tmp_path.iterdir())) == 4
