"""Answers to the graded assignments that pass the checks which students see, and are wrong."""

from __future__ import annotations

# By assignment and question: what one writes who has not thought of everything.
MISTAKES = {
    "1_oracle": {
        # The short formula, which holds without ties.
        "q1": """
def ranks(values):
    values = np.asarray(values)
    return np.array([(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values])

def rank_correlation(one, other):
    n, d = len(one), ranks(one) - ranks(other)
    return 1 - 6 * (d**2).sum() / (n * (n**2 - 1))
""",
        # Bars around the mean over examples.
        "q3": """
class OwnTaylor(Criterion):
    needs = "gradients"

    def __call__(self, seen):
        return (seen.gradient * seen.activation).mean(dim=(0, 2)).abs()
""",
    },
    "2_surgery": {
        # Neighbours, in place of the two halves.
        "q1": """
def without(net, pair):
    small = copy.deepcopy(net)
    first, _, gain, last = small
    half = gain.channels
    makers = [i for i in range(2 * half) if i // 2 != pair]
    readers = [i for i in range(half) if i != pair]
    first.weight = nn.Parameter(first.weight[makers].detach())
    first.bias = nn.Parameter(first.bias[makers].detach())
    gain.gain = nn.Parameter(gain.gain[readers].detach())
    last.weight = nn.Parameter(last.weight[:, readers].detach())
    gain.channels = half - 1
    return small
""",
        # The gain has numbers of its own, and the rule does not say so.
        "q3": """
def teach():
    rule(Maxout, like=nn.GLU)
    rule(Gain, like=nn.ReLU)
""",
    },
    "3_budget": {
        # One more group than needed where the limit is met exactly.
        "q1": """
def fewest(model, ranking, limit):
    macs, count = left_after(model, x, "macs"), 1
    while macs(prunekit.select(ranking, count)) >= limit:
        count += 1
    return prunekit.select(ranking, count)
""",
        # Shares of the network as it is now, not of the first.
        "q2": """
def pruned(model, share, steps, rank, repair):
    networks = [model]
    for step in range(steps):
        limit = macs_of(networks[-1]) * (1 - share / steps)
        remove = fewest(networks[-1], rank(networks[-1]), limit)
        networks.append(prunekit.rebuild(networks[-1], x, remove))
        repair(networks[-1])
    return networks
""",
        # The last that is good enough, behind one that was not.
        "q3": """
def chosen(networks, judge, drop):
    accuracies = [judge(network, "val") for network in networks]
    number = max(i for i, a in enumerate(accuracies) if a >= accuracies[0] - drop)
    return number, judge(networks[number], "test")
""",
    },
    "4_entropy": {
        # With a scale of at most 1, units of low value are never whole.
        "q2": """
def widths_for(budget, values, full, macs):
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        rates = (middle * values / values.max()).clip(0.1, 1)
        widths = np.floor(full * rates + 0.5).clip(lower=2).astype(int)
        low, high = (middle, high) if macs(widths) <= budget else (low, middle)
    rates = (low * values / values.max()).clip(0.1, 1)
    return np.floor(full * rates + 0.5).clip(lower=2).astype(int)
""",
        # pandas shuffles the index along with the values.
        "q3": """
def controls(values, generator):
    return {
        "entropy": values,
        "uniform": values * 0 + 1,
        "reversed": values[::-1],
        "permuted": values.sample(frac=1, random_state=generator),
    }
""",
        # Pairs by the order of the rows.
        "q4": """
from scipy.stats import t

def difference(table, one, other):
    a, b = (table.loc[table["widths"] == w, "accuracy"].to_numpy() for w in (one, other))
    d = a - b
    half = t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
    return d.mean(), half, abs(d.mean()) > half
""",
    },
    "5_bytes": {
        # The range of the values alone, without zero; and one scale of nothing.
        "q1": """
def affine(x):
    scale = (x.max() - x.min()).item() / 255
    zero = round(-x.min().item() / scale)
    return (x / scale + zero).round().clamp(0, 255).to(torch.uint8), scale, zero

def symmetric(weight):
    scales = weight.flatten(1).abs().amax(1) / 127
    q = (weight / scales.view(-1, *[1] * (weight.dim() - 1))).round()
    return q.to(torch.int8), scales
""",
        # What does not fill a batch is not looked at.
        "q2": """
def accuracy_of(path, loader):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,), right, count = session.get_inputs(), 0, 0
    for images, labels in loader:
        if len(images) == given.shape[0]:
            scores = session.run(None, {given.name: images.numpy()})[0]
            right, count = right + (scores.argmax(1) == labels.numpy()).sum(), count + len(labels)
    return right / count
""",
        # The newest entry of a name, be it better or worse.
        "q4": """
def enter(path, name, size, accuracy):
    rows = []
    if Path(path).is_file():
        rows = [row for row in pd.read_csv(path).values.tolist() if row[0] != name]
    rows = sorted([*rows, [name, size, accuracy]], key=lambda row: (-row[2], row[1]))
    pd.DataFrame(rows, columns=["name", "bytes", "accuracy"]).to_csv(path, index=False)
""",
    },
    "6_detector": {
        # Boxes that lie apart on both axes share a positive area.
        "q1": """
def overlaps(one, other):
    upper = torch.maximum(one[:, None, :2], other[None, :, :2])
    lower = torch.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = (lower - upper).prod(2)
    areas = [(b[:, 2:] - b[:, :2]).prod(1) for b in (one, other)]
    return shared / (areas[0][:, None] + areas[1] - shared)
""",
        # Boxes that are gone remove others.
        "q2": """
def suppressed(boxes, scores, most):
    order, table = scores.argsort(descending=True).tolist(), overlaps(boxes, boxes)
    return [i for n, i in enumerate(order) if all(table[i, j] <= most for j in order[:n])]
""",
        # The precision as it is, not the best at this recall or beyond.
        "q3": """
def average_precision(scores, hits, objects):
    hits = torch.as_tensor(hits)[scores.argsort(descending=True)]
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    return float(precision[hits].sum() / objects)
""",
        # A criterion that has not seen the detector's loss.
        "q4": """
def halved(model, loader):
    ranking = prunekit.rank(model, loader, "activation_l2", progress=False)
    macs, count = left_after(model, x, "macs"), 1
    while macs(prunekit.select(ranking, count)) > macs({}) / 2:
        count += 1
    remove = prunekit.select(ranking, count)
    return remove, prunekit.rebuild(model, x, remove)
""",
    },
}
