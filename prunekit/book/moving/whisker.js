// Box plots of two indicators, and the widths that follow: widths.abnormal_richness and allocate.
function prunekitWhisker(root, data) {
  const { lists, names, widths, costs, whole, weights, parameters, ratio, least } = data;
  const { richness, allocated, quartiles } = prunekitWhisker;
  const USUAL = "#0072B2", ABNORMAL = "#D55E00", FARTHEST = 3, MARK = 1.5;
  const [entropy] = lists, percent = (share) => `${Math.round(100 * share)}\u00a0%`;
  const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
  const kept = (found) => allocated(found.richness, widths, costs, whole * (1 - ratio), least);
  const left = (kept, each, all) =>
    percent(1 - sum(kept.map((count, i) => (widths[i] - count) * each[i])) / all);
  const results = Array.from({ length: 10 * FARTHEST + 1 }, (_, tenths) => {
    const found = richness(...lists.map(({ values }) => values), tenths / 10);
    return { ...found, kept: kept(found) };
  });
  const wide = (width) => width >= 600;

  function box(picture, { label, values }, factor, place) {
    const [first, middle, third] = quartiles(values), reach = third - first;
    const far = 1.05 * FARTHEST * reach;
    const plot = picture.plot({
      box: place,
      x: { from: -1, to: 1, ticks: [], label },
      y: {
        from: Math.min(...values, first - far),
        to: Math.max(...values, third + far),
        label: "",
      },
    });
    const [low, high] = [first - factor * reach, third + factor * reach];
    const grey = { width: 1.5 };
    plot.line([[-0.5, first], [0.5, first], [0.5, third], [-0.5, third], [-0.5, first]], grey);
    plot.line([[-0.5, middle], [0.5, middle]], { width: 2.5 });
    for (const [end, from] of [[low, first], [high, third]]) {
      plot.line([[0, from], [0, end]], grey);
      plot.line([[-0.25, end], [0.25, end]], grey);
    }
    const spread = values.map((value, i) => [0.6 * ((i * 0.618) % 1) - 0.3, value]);
    const inside = ([, value]) => value >= low && value <= high;
    plot.dots(spread.filter(inside), { colour: USUAL, size: 6, opacity: 0.7 });
    plot.dots(spread.filter((one) => !inside(one)), { colour: ABNORMAL, size: 9, name: label });
    return { plot, low, first, reach };
  }

  prunekitChart(root, {
    label: "Box plots of two indicators of each unit, and the channels that each unit keeps",
    height: (width) => (wide(width) ? 330 : 480),
    controls: [
      {
        name: "whisker",
        label: "whisker factor k",
        max: 10 * FARTHEST,
        value: 10 * MARK,
        text: (v) => (v / 10).toFixed(1),
      },
    ],
    draw(picture, { whisker }) {
      const factor = whisker / 10, result = results[whisker], { abnormal } = result;
      const across = wide(picture.width), each = across ? 175 : picture.width / 2;
      const height = across ? 330 : 240;
      lists.forEach((list, i) => {
        const drawn = box(picture, list, factor, { left: i * each, width: each, height });
        if (list !== entropy) return;
        const { plot, low, first, reach } = drawn;
        plot.handle("whisker", 0, low, (_, y) => (10 * (first - y)) / reach, "#222222");
      });
      const plot = picture.plot({
        box: across ? { left: 2 * each, width: picture.width - 2 * each } : { top: 240, height },
        x: { from: 0, to: names.length, ticks: [], label: "units, from input to output" },
        y: { from: 0, to: 1, label: "channels kept", format: percent },
      });
      result.kept.forEach((count, i) => {
        const colour = abnormal[i] ? ABNORMAL : USUAL;
        plot.bar(i + 0.12, i + 0.88, 0, count / widths[i], { colour });
        const usual = results[10 * MARK].kept[i] / widths[i];
        plot.line([[i, usual], [i + 1, usual]], { width: 1.5 });
      });
      picture.legend("usual", { dot: true, colour: USUAL });
      picture.legend("abnormal", { dot: true, colour: ABNORMAL });
      picture.legend(`kept at k = ${MARK}`, { width: 1.5 });
      const odd = names.filter((_, i) => abnormal[i]);
      const named = odd.length && odd.length < 4 ? ` (${odd.join(", ")})` : "";
      const moved = result.kept.map((count, i) => Math.abs(count - results[10 * MARK].kept[i]));
      const against = whisker === 10 * MARK ? "" : `; against k = ${MARK}, ${sum(moved)} move`;
      return `With k = ${factor.toFixed(1)}, ${odd.length} of ${names.length} units ` +
        `${odd.length === 1 ? "is" : "are"} abnormal${named}. ` +
        `${sum(result.kept)} of ${sum(widths)} channels stay, ` +
        `with ${left(result.kept, costs, whole)} of the MACs and ` +
        `${left(result.kept, weights, parameters)} of the parameters${against}.`;
    },
  });
}

prunekitWhisker.quartiles = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  return [0.25, 0.5, 0.75].map((share) => {
    const place = share * (sorted.length - 1), below = Math.floor(place), part = place - below;
    const next = sorted[Math.min(below + 1, sorted.length - 1)];
    return sorted[below] + part * (next - sorted[below]);
  });
};

// Abnormal values pulled to the end of the whisker, each list from 0 to 1, and their mean.
prunekitWhisker.richness = (entropies, magnitudes, factor) => {
  const lists = [entropies, magnitudes].map((values) => {
    const [first, , third] = prunekitWhisker.quartiles(values), reach = factor * (third - first);
    const [low, high] = [first - reach, third + reach];
    const tamed = values.map((one) => Math.min(Math.max(one, low), high));
    const [least, most] = [Math.min(...tamed), Math.max(...tamed)];
    return {
      odd: values.map((one) => one < low || one > high),
      scaled: tamed.map((one) => (most > least ? (one - least) / (most - least) : 0.5)),
    };
  });
  const [ours, theirs] = lists;
  return {
    abnormal: ours.odd.map((one, i) => one || theirs.odd[i]),
    richness: ours.scaled.map((one, i) => 0.5 * one + 0.5 * theirs.scaled[i]),
  };
};

// Rates by contrast: channels come back one at a time, while the budget allows the next.
prunekitWhisker.allocated = (values, widths, costs, budget, least) => {
  const [low, high] = [Math.min(...values), Math.max(...values)], steps = [];
  const kept = widths.map((width) => Math.max(2, Math.floor(0.1 * width + 0.5)));
  widths.forEach((width, unit) => {
    const share = high > low ? (values[unit] - low) / (high - low) : 0.5;
    for (let count = kept[unit]; count < width; count++) {
      const rate = (count + 0.5) / width;
      steps.push({ unit, scale: share < 1 ? (rate - share) / (1 - share) : -Infinity });
    }
  });
  steps.sort((a, b) => (a.scale === b.scale ? 0 : a.scale - b.scale));
  let cost = least;
  for (const { unit } of steps) {
    cost += costs[unit];
    if (cost > budget * (1 + 1e-9)) break;
    kept[unit]++;
  }
  return kept;
};
