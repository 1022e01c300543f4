// Numbers stored in a few bits: what is lost to rounding inside the range, and to clipping beyond.
function prunekitClipping(root, { values, ends: [least, greatest], bits: start }) {
  const { errors } = prunekitClipping;
  const INSIDE = "#0072B2", BEYOND = "#D55E00", SUM = "#222222", LEAST = 5, BINS = 60;
  const [low, high] = [Math.min(0, least), Math.max(0, greatest)], far = high || low;
  const percent = (share) => `${share}\u00a0%`;
  const cuts = Array.from({ length: 101 - LEAST }, (_, i) => LEAST + i);
  const short = (number) => Number(number.toPrecision(3)).toString();
  const known = {}; // by the number of bits: the errors at every cut
  const curves = (bits) =>
    (known[bits] ??= cuts.map((cut) =>
      errors(values, (cut / 100) * low, (cut / 100) * high, bits)));
  const counts = Array(BINS).fill(0);
  for (const one of values)
    counts[Math.min(BINS - 1, Math.floor((BINS * (one - low)) / (high - low)))]++;
  const wide = (width) => width >= 600;

  prunekitChart(root, {
    label: "Numbers and the range in which they are stored; errors of rounding and of clipping",
    height: (width) => (wide(width) ? 310 : 500),
    controls: [
      { name: "bits", label: "bits", min: 2, max: 8, value: start, text: (v) => `${v}` },
      { name: "cut", label: "range kept", min: LEAST, max: 100, value: 100, text: percent },
    ],
    draw(picture, { bits, cut }) {
      const all = curves(bits), now = all[cut - LEAST], sums = all.map((one) => one.sum);
      const best = cuts[sums.indexOf(Math.min(...sums))];
      const [from, to, end] = [low, high, far].map((one) => (cut / 100) * one);
      const half = wide(picture.width) ? picture.width / 2 : picture.width;
      const height = wide(picture.width) ? 310 : 250;
      const left = picture.plot({
        box: { width: half, height },
        x: { from: low, to: high, label: "value" },
        y: { from: 0, to: Math.sqrt(Math.max(...counts)), ticks: [], label: "how often (root)" },
      });
      counts.forEach((count, i) => {
        const edge = (place) => low + (place / BINS) * (high - low), middle = edge(i + 0.5);
        const colour = middle < from || middle > to ? BEYOND : INSIDE;
        left.bar(edge(i), edge(i + 0.9), 0, Math.sqrt(count), { colour });
      });
      const levels = 2 ** bits, top = left.y.to;
      if (levels <= 64)
        for (let level = 0; level < levels; level++) {
          const at = now.scale * (level - now.zero);
          left.line([[at, 0], [at, top / 12]], { width: 1 });
        }
      left.line([[end, 0], [end, top]], { width: 1.2, dash: "6 4" });
      left.handle("cut", end, top / 2, (x) => (100 * x) / far, BEYOND);
      const right = picture.plot({
        box: wide(picture.width) ? { left: half, width: half } : { top: 250, height },
        x: { from: 0, to: 100, label: "range kept", format: percent },
        y: { from: 0, to: 4 * Math.min(...sums), label: "mean squared error", format: short },
      });
      const along = (part) => all.map((one, i) => [cuts[i], one[part]]);
      right.line(along("rounding"), { colour: INSIDE });
      right.line(along("clipping"), { colour: BEYOND });
      right.line(along("sum"), { colour: SUM, width: 2.5 });
      right.line([[cut, 0], [cut, right.y.to]], { width: 1, dash: "2 4" });
      right.dots([[cut, now.sum]], { colour: SUM, size: 10 });
      picture.legend("inside the range: rounded", { colour: INSIDE });
      picture.legend("beyond it: clipped", { colour: BEYOND });
      picture.legend("both", { colour: SUM, width: 2.5 });
      return `${bits} bits, range up to ${short(end)}: a step is ${short(now.scale)}. ` +
        `Mean squared error: ${short(now.rounding)} by rounding, ` +
        `${short(now.clipping)} by clipping. Together they are least with ` +
        `${percent(best)} of the range.`;
    },
  });
}

prunekitClipping.errors = (values, low, high, bits) => {
  const most = 2 ** bits - 1, scale = (high - low) / most;
  // Halves go to the even neighbour, as in PyTorch.
  const round = (x) => (x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));
  const zero = round(-low / scale);
  const found = { scale, zero, rounding: 0, clipping: 0 };
  for (const value of values) {
    const level = round(value / scale) + zero, stored = Math.min(Math.max(level, 0), most);
    const part = stored === level ? "rounding" : "clipping";
    found[part] += (scale * (stored - zero) - value) ** 2 / values.length;
  }
  return { ...found, sum: found.rounding + found.clipping };
};
