from pathlib import Path

from papers.pmscn import run
from papers.pmscn.run import rows
from papers.rows import markdown


def test_the_plain_networks_are_exact_and_no_variant_is():
    found = {row.name for row in rows() if row.exact}
    assert found == {"ResNet, 3D, Fig 4", "DenseNet, 3D, Fig 5", "UNet, 3D, Fig 6"}


def test_every_row_that_does_not_reproduce_says_what_it_counts():
    assert all(row.note for row in rows() if not row.exact)


def test_the_readme_has_the_rows_the_command_writes():
    assert markdown(rows()) in (Path(run.__file__).parent / "README.md").read_text()
