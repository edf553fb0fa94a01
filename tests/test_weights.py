import pytest
import torch

from lean3d.errors import DataError
from lean3d.weights import check_tensors, check_weights


@pytest.mark.filterwarnings("ignore:torch.quantize", "ignore:The PyTorch API of nested")
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "quantised"),
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "nested"),
        (lambda: 5, "a int"),
    ],
)
def test_what_has_no_values_of_its_own_is_named(make, kind):
    check_tensors("w.pt", {"a": torch.ones(2)})
    with pytest.raises(DataError, match=rf"w\.pt: b is {kind} and not a plain tensor"):
        check_tensors("w.pt", {"a": torch.ones(2), "b": make()})


def test_whole_numbers_fit_where_the_network_has_whole_numbers():
    count, scale = torch.tensor(3), torch.ones(2)
    check_weights("w.pt", {"a": count, "b": scale}, {"a": count, "b": scale})
    with pytest.raises(DataError, match="b has values of type int64"):
        check_weights("w.pt", {"b": count}, {"b": scale})
