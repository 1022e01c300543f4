"""What a detector gives, looked over before anything is made of it."""

from __future__ import annotations

from torch import Tensor

from prunekit.checks import shown

#: Class scores before the sigmoid, of shape (pictures, anchors, classes), the first of them the
#: background's, and offsets from anchors, of shape (pictures, anchors, 4).
Output = tuple[Tensor, Tensor]


def checked_output(output: Output, anchors: Tensor) -> Output:
    """Both parts in float32, found to suit each other and the anchors.

    Raises
    ------
    TypeError
        The output is no pair of tensors.
    ValueError
        They are of other shapes, or the anchors are others than the output's.
    """
    pair = isinstance(output, (tuple, list)) and len(output) == 2
    if not pair or not all(isinstance(part, Tensor) for part in output):
        raise TypeError(
            f"a detector gives a pair (scores, offsets) of tensors, not {shown(output)}"
        )
    scores, offsets = output
    if scores.dim() != 3 or scores.shape[2] < 2 or offsets.shape != (*scores.shape[:2], 4):
        raise ValueError(
            "a detector gives scores of shape (pictures, anchors, classes), the background among "
            f"these, and offsets of shape (pictures, anchors, 4), not {tuple(scores.shape)} and "
            f"{tuple(offsets.shape)}"
        )
    if anchors.shape != (scores.shape[1], 4):
        raise ValueError(
            f"anchors of shape {tuple(anchors.shape)} do not suit a model that answers for "
            f"{scores.shape[1]}: make them by ssd_anchors from the sides of its maps"
        )
    return scores.float(), offsets.float()
