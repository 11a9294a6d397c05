"""What a program of one's own relies on: signatures, values that compare, and files that open."""

import inspect
import typing

import pytest

from nextpixel import DiagonalBiLSTM, GatedPixelCNN, PixelCNN, RowLSTM


@pytest.mark.parametrize("model", [DiagonalBiLSTM, GatedPixelCNN, PixelCNN, RowLSTM])
def test_a_constructor_says_what_it_takes(model: type) -> None:
    keywords = inspect.signature(model).parameters
    assert {"levels", "condition", "features", "layers"} <= keywords.keys()
    assert typing.get_type_hints(model.__init__).keys() == {*keywords, "return"}
    assert f"{model.__name__}Settings" in (model.__init__.__doc__ or "")
