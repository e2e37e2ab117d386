"""Ids in a path: what cannot be one never gets to the database."""

from typing import Any

import pytest

from api.path_ids import path_id
from errors import NotFound

CHECK: Any = path_id("conv", NotFound).func


@pytest.mark.parametrize(
    "id_",
    [
        "",
        "conv_",
        "conv_0123456",
        "conv_012345678",
        "conv_01234567\n",
        "conv_01234567\0",
        " conv_01234567",
        "conv_0123456G",
        "CONV_01234567",
        "conv_0123456F",
        "conv_٠1234567",
        "rule_01234567",
    ],
)
def test_what_cannot_be_an_id_is_not_found(id_: str) -> None:
    with pytest.raises(NotFound):
        CHECK(id_)


def test_what_may_be_an_id_is_taken_as_it_is() -> None:
    assert CHECK("conv_89abcdef") == "conv_89abcdef"
