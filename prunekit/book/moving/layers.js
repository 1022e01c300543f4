// Accuracy turn by turn, and below it what is left of every layer at the turn the reader chooses.
function prunekitLayers(root, { layers, blocks, turns }) {
  const KEPT = "#0072B2", TURN = "#D55E00";
  const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}\u00a0%`;
  const all = layers.reduce((sum, { filters }) => sum + filters, 0), last = turns.length - 1;
  const most = Math.max(...layers.map(({ filters }) => filters));
  const accuracies = turns.map(({ accuracy }) => accuracy);

  prunekitChart(root, {
    label: "Accuracy after each turn, and the filters left in each layer",
    height: 470,
    controls: [
      { name: "turn", label: "turn", max: last, value: Math.min(12, last), text: (v) => `${v} of ${last}` },
    ],
    draw(picture, { turn }) {
      const { accuracy, kept } = turns[turn];
      const line = picture.plot({
        x: { from: 0, to: Math.max(last, 1), label: "turn" },
        y: { from: 0, to: 1, label: "accuracy", format: percent },
        box: { height: 200 },
      });
      line.line([[turn, 0], [turn, accuracy]], { colour: TURN, width: 1.2 });
      line.line(accuracies.map((one, i) => [i, one]), { colour: KEPT });
      line.handle("turn", turn, accuracy, (x) => Math.round(x), TURN);
      const bars = picture.plot({
        x: {
          from: -0.6,
          to: layers.length - 0.4,
          label: "block (its squeeze, 1×1 and 3×3)",
          ticks: blocks.map(({ place }) => place),
          format: (place) => blocks.find((one) => one.place === place).name,
        },
        y: { from: 0, to: most, label: "filters" },
        box: { top: 200, height: 270 },
      });
      layers.forEach(({ filters }, i) => {
        bars.bar(i - 0.4, i + 0.4, kept[i], filters, { colour: "#bbbbbb" });
        bars.bar(i - 0.4, i + 0.4, 0, kept[i], { colour: KEPT });
      });
      picture.legend("kept", { colour: KEPT, dot: true });
      picture.legend("removed", { colour: "#bbbbbb", dot: true });
      const left = kept.reduce((sum, one) => sum + one, 0);
      const gone = layers.map(({ filters }, i) => filters - kept[i]);
      const worst = gone.indexOf(Math.max(...gone)), { name, filters } = layers[worst];
      const where = gone[worst] ? ` ${name} has lost most: ${gone[worst]} of its ${filters}.` : "";
      return `After turn ${turn}, ${all - left} of ${all} filters are gone ` +
        `(${percent(1 - left / all)}), and ${percent(accuracy, 1)} of the validation images are right.${where}`;
    },
  });
}
