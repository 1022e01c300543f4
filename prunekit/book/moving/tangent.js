// The cost along the scale of one map, and the tangent at a point of it, followed down to zero.
function prunekitTangent(root, { scales, filters }) {
  const CURVE = "#0072B2", TANGENT = "#D55E00", REST = "#CC79A7";
  const signed = (number) => (number < 0 ? "\u2212" : "+") + Math.abs(number).toFixed(3);
  const last = scales.length - 1;

  prunekitChart(root, {
    label: "Cost while one map is scaled, and the tangent at a point of the curve",
    height: 340,
    controls: [
      { name: "filter", label: "filter", kind: "choice", options: filters.map((f) => f.label) },
      {
        name: "at",
        label: "where the tangent touches",
        max: last,
        value: scales.indexOf(1),
        text: (v) => `t = ${scales[v].toFixed(2)}`,
      },
    ],
    draw(picture, { filter, at }) {
      const { label, cost, slope } = filters[filter], t = scales[at];
      const ends = cost.map((one, i) => one - scales[i] * slope[i]);
      const [low, high] = [Math.min(...cost, ...ends), Math.max(...cost, ...ends)];
      const pad = 0.06 * (high - low), predicted = ends[at];
      const plot = picture.plot({
        x: { from: 0, to: scales[last], label: "scale t of the map (0 = removed)" },
        y: { from: low - pad, to: high + pad, label: "cost of one image" },
      });
      plot.line([[0, cost[at]], [t, cost[at]]], { width: 1, dash: "2 4" });
      plot.line(scales.map((one, i) => [one, cost[i]]), { colour: CURVE });
      const along = (x) => [x, cost[at] + (x - t) * slope[at]];
      plot.line([along(0), along(scales[last])], { colour: TANGENT, dash: "7 4" });
      plot.line([[0, cost[0]], [0, predicted]], { colour: REST, width: 5 });
      plot.dots([[0, cost[0]]], { colour: CURVE, size: 12, name: "true" });
      plot.dots([[0, predicted]], { colour: TANGENT, size: 12, name: "predicted" });
      plot.handle("at", t, cost[at], (x) => {
        const distances = scales.map((one) => Math.abs(one - x));
        return distances.indexOf(Math.min(...distances));
      }, "#222222");
      picture.legend("cost", { colour: CURVE });
      picture.legend("tangent", { colour: TANGENT, dash: "7 4" });
      picture.legend("remainder", { colour: REST, width: 5 });
      return `${label}, t = ${t.toFixed(2)}: without the map the cost changes by ` +
        `${signed(cost[0] - cost[at])}; the tangent predicts ${signed(predicted - cost[at])}. ` +
        `The remainder is ${signed(cost[0] - predicted)}.`;
    },
  });
}
