from papers.pmscn.run import rows


def test_the_plain_networks_are_exact_and_no_variant_is():
    found = {row.name for row in rows() if row.exact}
    assert found == {"ResNet, 3D, Fig 4", "DenseNet, 3D, Fig 5", "UNet, 3D, Fig 6"}


def test_every_row_that_does_not_reproduce_says_what_it_counts():
    assert all(row.note for row in rows() if not row.exact)
