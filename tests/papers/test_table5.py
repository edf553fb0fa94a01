from papers.d3d.table5 import table_5


def test_every_light_network_is_exact_but_x3d_on_the_clip_the_table_names():
    rows = list(table_5())
    assert [row.name for row in rows if not row.exact] == ["x3d_m at 224, Table 5"]
    assert len(rows) == 8
