"""Parts of a network that are in use in training only, such as auxiliary classifiers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from prunekit.channels.capture import attribute
from prunekit.channels.interpreter import LabelInterpreter
from prunekit.channels.refusals import TraceError


def unread_parameter(evaluation: LabelInterpreter) -> str:
    """The first parameter of which evaluation mode has shown no channels; empty if there is none.

    One of a single number has none to show.
    """
    model, book = evaluation.model, evaluation.book
    called = (evaluation.modules[name] for name in set(evaluation.called.values()))
    read = {id(parameter) for layer in called for parameter in layer.parameters()}
    read |= {id(attribute(model, name)) for name in book.slices}
    parameters = model.named_parameters()
    return next((name for name, p in parameters if p.numel() > 1 and id(p) not in read), "")


@contextmanager
def training_mode(model: nn.Module, unread: str) -> Iterator[None]:
    """Training mode for the time being, for the sake of a parameter that only it may read."""
    model.train()
    try:
        yield
    except TraceError as error:
        raise TraceError(
            f"{error}. So it is in training mode, which is looked at because evaluation mode does "
            f"not read the parameter {unread!r}: if nothing does, take it out of the model"
        ) from error
    finally:
        model.eval()
