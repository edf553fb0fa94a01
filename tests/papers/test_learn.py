from dataclasses import dataclass

import torch

from papers.learn import Batches, folder_of, held


def numbers(batches):
    return [batch[0].tolist() for batch in batches]


def test_an_epoch_shows_every_sample_in_an_order_of_its_own():
    x = torch.arange(10)
    batches = held(x, x, 4, seed=1)
    first = numbers(batches)
    assert sorted(n for batch in first for n in batch) == list(range(10))
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert len(batches) == 3
    assert numbers(batches) == first
    batches.set_epoch(1)
    assert numbers(batches) != first
    assert numbers(held(x, x, 4, seed=2)) != first
    assert numbers(held(x, x, 4, shuffle=False)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_fresh_samples_count_on_through_the_epochs():
    batches = Batches(lambda index: (index, index), 6, 4, fresh=True)
    batches.sampler.set_epoch(2)
    assert numbers(batches) == [[12, 13, 14, 15], [16, 17]]


def test_other_settings_are_another_folder(tmp_path):
    @dataclass(frozen=True)
    class Scale:
        epochs: int

    found = {folder_of(tmp_path, "a b", 0, Scale(n)) for n in (1, 1, 2)}
    assert len(found) == 2
    assert all(folder.name.startswith("a_b_0_") for folder in found)
