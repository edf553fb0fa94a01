"""A search against distances written out, by faiss and by torch."""

import json

import pytest
import torch

from lean3d.errors import DataError, RunError, ShapeError
from lean3d.infer import Entry, Gallery


def gallery(vectors):
    return Gallery(vectors, tuple(Entry(f"v{n}", f"p{n % 3}", n) for n in range(len(vectors))))


@pytest.mark.parametrize("backend", ["faiss", "torch"])
def test_the_nearest_are_those_of_all_distances(backend):
    torch.manual_seed(0)
    vectors_NE, queries_QE = torch.randn(200, 16), torch.randn(7, 16)
    distances, places = gallery(vectors_NE).search(queries_QE, 5, backend)
    for query_E, distance_K, place_K in zip(queries_QE, distances, places, strict=True):
        every = [(float((v - query_E).norm()), n) for n, v in enumerate(vectors_NE)]
        wanted = sorted(every)[:5]
        assert place_K.tolist() == [n for _, n in wanted]
        assert distance_K.tolist() == pytest.approx([d for d, _ in wanted])


@pytest.mark.parametrize("backend", ["faiss", "torch"])
def test_equal_and_near_equal_vectors_far_from_the_origin(backend):
    base = torch.full((1, 8), 1000.0)
    vectors_NE = base + torch.tensor([[3.0], [1.0], [1.0], [2.0]]) * torch.eye(1, 8)
    distances, places = gallery(vectors_NE).search(base, 4, backend)
    assert places.tolist() == [[1, 2, 3, 0]]
    assert distances.tolist() == [[1.0, 1.0, 2.0, 3.0]]


def test_as_many_as_there_are():
    distances, places = gallery(torch.eye(3)).search(torch.eye(3)[:2], 10)
    assert distances.shape == places.shape == (2, 3)


def test_a_gallery_is_the_same_after_it_was_written(tmp_path):
    one = Gallery(torch.randn(4, 3), tuple(Entry(f"ü{n}") for n in range(4)), {"run": "r"})
    one.save(tmp_path / "g")
    two = Gallery.load(tmp_path / "g")
    assert torch.equal(two.vectors, one.vectors)
    assert (two.entries, two.about) == (one.entries, one.about)
    both = two.added(gallery(torch.zeros(1, 3)))
    assert [entry.name for entry in both.entries][-1] == "v0"
    with pytest.raises(DataError, match="each name once, got ü0 twice"):
        two.added(one)


@pytest.mark.parametrize("damage", ["no vectors", "torn", "other entries", "no record"])
def test_a_damaged_gallery_is_one_sentence(tmp_path, damage):
    gallery(torch.eye(3)).save(tmp_path)
    record = tmp_path / "gallery.json"
    if damage == "no vectors":
        (tmp_path / "vectors.npy").unlink()
    elif damage == "torn":
        record.write_text(record.read_text()[:50])
    elif damage == "other entries":
        known = json.loads(record.read_text())
        record.write_text(json.dumps(known | {"entries": known["entries"][:2]}))
    else:
        record.unlink()
    with pytest.raises((DataError, ShapeError), match="gallery") as caught:
        Gallery.load(tmp_path)
    assert len(str(caught.value)) <= 400


def test_what_cannot_be_searched():
    one = gallery(torch.eye(3))
    with pytest.raises(ShapeError, match="with E = 3, got \\(1, 2\\)"):
        one.search(torch.zeros(1, 2))
    with pytest.raises(RunError, match="1 video or more, got 0"):
        one.search(torch.zeros(1, 3), 0)
    with pytest.raises(RunError, match="auto, faiss or torch, got 'annoy'"):
        one.search(torch.zeros(1, 3), 1, "annoy")
    with pytest.raises(DataError, match="one video or more"):
        Gallery(torch.zeros(0, 3), ())
    with pytest.raises(DataError, match="finite"):
        gallery(torch.full((1, 2), torch.nan))
    with pytest.raises(ShapeError, match="of its 3 entries"):
        Gallery(torch.eye(4), one.entries)
