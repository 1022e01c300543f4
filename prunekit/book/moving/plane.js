// Every filter by its places in two rankings, and the line that cuts off the lowest weighted sums.
function prunekitPlane(root, { x, y, sizes, least }) {
  const { taken } = prunekitPlane;
  const KEPT = "#0072B2", GONE = "#D55E00", HELD = "#000000";
  const count = x.places.length, most = Math.max(...x.places, ...y.places);
  const percent = (share) => `${share}\u00a0%`;
  const whole = (number) => number.toLocaleString("en");
  const weighed = (alpha) => x.places.map((one, i) => alpha * one + (100 - alpha) * y.places[i]);
  const lowest = (alpha, share) =>
    taken(weighed(alpha), sizes, Math.max(1, Math.round((share / 100) * count)), least);

  prunekitChart(root, {
    label: `Filters by their places in the rankings by ${x.label} and by ${y.label}, and a cut`,
    height: (width) => Math.min(width - 26, 480),
    controls: [
      { name: "alpha", label: `weight α of ${x.label}`, max: 100, value: 50, text: percent },
      { name: "share", label: "share removed", min: 1, max: 80, value: 25, text: percent },
    ],
    draw(picture, { alpha, share }) {
      const scores = weighed(alpha), { gone, held } = lowest(alpha, share);
      const cut = Math.max(...gone.map((one) => scores[one])), middle = cut / 100;
      const plot = picture.plot({
        square: true,
        x: { from: 0, to: most, label: `place by ${x.label} (1 = lowest)` },
        y: { from: 0, to: most, label: `place by ${y.label}` },
      });
      const at = (one) => [x.places[one], y.places[one]], removed = new Set([...gone, ...held]);
      const kept = scores.flatMap((_, one) => (removed.has(one) ? [] : [at(one)]));
      const size = count > 500 ? 4 : 7;
      plot.dots(kept, { colour: KEPT, size, opacity: 0.6, name: "kept" });
      plot.dots(gone.map(at), { colour: GONE, size, opacity: 0.75, name: "gone" });
      plot.dots(held.map(at), { colour: HELD, size: size + 3, name: "held" });
      const [dx, dy] = [(alpha - 100) / 100, alpha / 100];
      const from = (far) => [middle + far * dx, middle + far * dy];
      plot.line([from(-3 * most), from(3 * most)], { width: 1.5 });
      plot.handle("share", middle, middle, (left, up) => {
        const reached = alpha * left + (100 - alpha) * up;
        return (100 * scores.filter((one) => one <= reached).length) / count;
      }, GONE);
      // Towards the side with more room, and inside the axes.
      const reach = (step) => (step > 0 ? most - middle : middle) / Math.abs(step);
      const room = (sign) => Math.min(reach(sign * dx), reach(sign * dy));
      const sign = room(1) > room(-1) ? 1 : -1;
      plot.handle("alpha", ...from(sign * Math.min(room(sign), 0.4 * most)), (left, up) =>
        (100 * (up - middle)) / (up - left || 1), "#222222");
      picture.legend("removed", { dot: true, colour: GONE });
      picture.legend("kept", { dot: true, colour: KEPT, opacity: 0.7 });
      if (held.length) picture.legend("kept by a layer's floor", { dot: true, colour: HELD });
      const alone = [100, 0].map((end) => {
        const list = new Set(lowest(end, share).gone);
        return whole(gone.filter((one) => list.has(one)).length);
      });
      return `${percent(alpha)} of the weight on ${x.label}, the rest on ${y.label}: ` +
        `${whole(gone.length)} of ${whole(count)} filters go. Of these, ${x.label} alone would ` +
        `take ${alone[0]}, and ${y.label} alone ${alone[1]}.`;
    },
  });
}

// As prunekit.select: the lowest first, of equals the first listed; no layer falls below `least`.
prunekitPlane.taken = (scores, sizes, count, least) => {
  const layer = sizes.flatMap((size, number) => Array(size).fill(number)), left = [...sizes];
  const order = scores.map((_, one) => one).sort((a, b) => scores[a] - scores[b] || a - b);
  const gone = [], held = [];
  for (const one of order) {
    if (gone.length >= count) break;
    if (left[layer[one]] > least) {
      left[layer[one]]--;
      gone.push(one);
    } else held.push(one);
  }
  return { gone, held };
};
