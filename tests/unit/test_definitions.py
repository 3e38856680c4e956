"""The names of the schemas in the API's description, which generators of clients name types after."""

from pydantic import BaseModel

import gateway.app
from gateway.definitions import define


def models_below(parent):
    """Yield the models of requests, answers and errors, and of what they consist of."""
    for model in parent.__subclasses__():
        is_described = model.__name__[0] != "_" and "[" not in model.__name__
        if is_described and model.__module__.startswith(("broker.", "gateway.")):
            yield model
        yield from models_below(model)


def test_every_schema_has_a_plain_name_of_its_own():
    assert gateway.app.DIALECTS  # imported with all the models
    names = list(define(models_below(BaseModel), "{model}"))

    assert len(names) > 100
    assert [name for name in names if not name.isalpha()] == []
