from lean3d.metrics import unit_of


def test_the_unit_suits_the_largest_side_of_a_voxel():
    assert unit_of((5.0, 0.7, 0.7)).volume == "mL"
    assert unit_of((2e-4, 1e-4, 1e-4)).length == "µm"
    assert unit_of((4e-5, 4e-6, 4e-6)).length == "nm"


def test_volumes_and_lengths_agree():
    for side in (1.0, 1e-3, 1e-6):
        unit = unit_of((side,) * 3)
        # a voxel of one unit a side; a millilitre is a cube of 10 mm
        scale = 1000 if unit.volume == "mL" else 1
        assert round(unit.per_mm**3 / unit.per_mm3) == scale
