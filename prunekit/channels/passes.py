"""The passes of a network over channel labels: in evaluation mode, in training mode if it must be.

Some parts are in use in training only, such as auxiliary classifiers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

from torch import Tensor, nn

from prunekit.channels.capture import attribute, capture, meta_copy
from prunekit.channels.counts import watched_sizes
from prunekit.channels.interpreter import LabelInterpreter
from prunekit.channels.kinds import stated_sizes
from prunekit.channels.labels import LabelBook
from prunekit.channels.refusals import Leaves, TraceError


def on_labels(model: nn.Module, inputs: tuple, leaves: Leaves = ()) -> LabelInterpreter:
    """The forward pass in evaluation mode on channel labels, with all that ties them in its book.

    ``inputs`` have no data.
    """
    copy = meta_copy(model, leaves).eval()
    device = next((parameter.device for parameter in model.parameters()), None)
    book, modules = LabelBook(), dict(copy.named_modules())
    sizes = [(name, m, size) for name, m in modules.items() for size in stated_sizes(m)]
    with watched_sizes(sizes, book):
        graph = capture(copy, inputs, device)
    evaluation = LabelInterpreter(copy, graph, book)
    evaluation.run()
    if unread := _unread_tensor(evaluation):
        with _training_mode(copy, unread):
            with watched_sizes(sizes, book):
                training_graph = capture(copy, inputs, device)
            LabelInterpreter(copy, training_graph, book).run()
    book.inputs = book.unread | book.inputs
    book.freeze_held()
    _unite_tied_weights(copy, book)
    return evaluation


def _unite_tied_weights(model: nn.Module, book: LabelBook) -> None:
    """One tensor under two names loses the same slices under both."""
    first: dict[int, dict[int, Tensor]] = {}
    for name, dims in book.slices.items():
        book.tie(first.setdefault(id(attribute(model, name)), dims), dims)


def _unread_tensor(evaluation: LabelInterpreter) -> str:
    """The first parameter, or else buffer, of which evaluation mode has shown no channels.

    Empty if there is none. One of a single number has none to show.
    """
    model, book = evaluation.model, evaluation.book
    called = (evaluation.modules[name] for name in set(evaluation.called.values()))
    read = {id(tensor) for layer in called for tensor in (*layer.parameters(), *layer.buffers())}
    read |= {id(attribute(model, name)) for name in book.slices}
    tensors = chain(model.named_parameters(), model.named_buffers())
    return next((name for name, one in tensors if one.numel() > 1 and id(one) not in read), "")


@contextmanager
def _training_mode(model: nn.Module, unread: str) -> Iterator[None]:
    """Training mode for the time being, for the sake of a tensor that only it may read.

    Where it cannot be followed, a buffer stays as it is: many hold what is no channel's, such as
    the weights of classes for a loss.
    """
    model.train()
    try:
        yield
    except TraceError as error:
        if unread in dict(model.named_buffers()):
            return
        raise TraceError(
            f"{error}. So it is in training mode, which is looked at because evaluation mode does "
            f"not read the parameter {unread!r}: if nothing does, take it out of the model"
        ) from error
    finally:
        model.eval()
