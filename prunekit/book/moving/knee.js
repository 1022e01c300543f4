// The loss that is allowed, and the ratio at which a curve has lost it: knees.knee_within.
function prunekitKnee(root, { curves }) {
  const { within, between } = prunekitKnee;
  const TEST = "#777777", LIMIT = "#D55E00";
  const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}\u00a0%`;
  const points = (share) => `${(100 * share).toFixed(1).replace("-", "\u2212")} points`;
  const pairs = (x, y) => x.map((one, i) => [one, y[i]]);

  prunekitChart(root, {
    label: "Accuracy against filters removed, the loss that is allowed, and the knee",
    height: 330,
    controls: [
      { name: "curve", label: "criterion", kind: "choice", options: curves.map((c) => c.label) },
      {
        name: "drop",
        label: "loss allowed, δ",
        max: 100,
        value: 10,
        text: (v) => points(v / 1000),
      },
    ],
    draw(picture, { curve, drop }) {
      const { label, colour, ratio, val, test, seeds } = curves[curve];
      const allowed = drop / 1000, limit = val[0] - allowed, knee = within(ratio, val, allowed);
      const best = Math.max(...val, ...test);
      const plot = picture.plot({
        x: { from: 0, to: 1, label: "filters removed", format: percent },
        y: { from: val[0] - 0.12, to: best + 0.01, label: "accuracy", format: percent },
      });
      for (const seed of seeds)
        plot.line(pairs(seed.ratio, seed.val), { colour, width: 1, opacity: 0.35 });
      plot.line(pairs(ratio, test), { colour: TEST, dash: "2 4" });
      plot.line(pairs(ratio, val), { colour });
      plot.line([[0, limit], [1, limit]], { colour: LIMIT, width: 1.2, dash: "6 4" });
      plot.line([[knee, limit], [knee, plot.y.from]], { colour: LIMIT, width: 1.2 });
      const own = seeds.map((seed) => within(seed.ratio, seed.val, allowed));
      const floor = plot.y.from, up = (plot.y.to - floor) / 18;
      for (const one of own) plot.line([[one, floor], [one, floor + up]], { colour, width: 3 });
      const reached = between(ratio, test, knee), lost = test[0] - reached;
      plot.dots([[knee, reached]], { colour: TEST, size: 11, name: "test" });
      plot.handle("drop", knee, limit, (_, y) => 1000 * (val[0] - y), LIMIT);
      picture.legend("validation, mean of the seeds", { colour });
      picture.legend("one seed, its own knee below", { colour, width: 1, opacity: 0.5 });
      picture.legend("test", { colour: TEST, dash: "2 4" });
      picture.legend("start minus δ", { colour: LIMIT, width: 1.2, dash: "6 4" });
      const range = [Math.min(...own), Math.max(...own)].map((one) => percent(one));
      const alone = range[0] === range[1] ? range[0] : range.join(" to ");
      const end = ratio[ratio.length - 1];
      const first = knee === end
        ? `On validation, ${label} never loses more than ${points(allowed)} up to ${percent(end)}.`
        : `On validation, ${label} has lost ${points(allowed)} at ${percent(knee, 1)} of the ` +
          `filters; single seeds say ${alone}.`;
      return `${first} There, ${points(lost)} are lost on test: ${percent(reached, 1)} are right.`;
    },
  });
}

prunekitKnee.within = (ratios, accuracies, drop) => {
  const limit = accuracies[0] - drop;
  const after = accuracies.findIndex((one) => one < limit - 1e-12);
  if (after < 0) return ratios[ratios.length - 1];
  const before = after - 1;
  const share = (accuracies[before] - limit) / (accuracies[before] - accuracies[after]);
  return ratios[before] + Math.max(share, 0) * (ratios[after] - ratios[before]);
};

// The curve at x, on straight lines between its points.
prunekitKnee.between = (ratios, accuracies, x) => {
  const after = Math.max(1, ratios.findIndex((one) => one >= x)), before = after - 1;
  const share = (x - ratios[before]) / (ratios[after] - ratios[before]);
  return accuracies[before] + share * (accuracies[after] - accuracies[before]);
};
