// The filters of a layer around a circle, a chord between any two that are twins at a threshold.
function prunekitTwins(root, { layer, closest, outlived, pairs, least }) {
  const ALONE = "#999999", STAYS = "#0072B2", GOES = "#D55E00";
  const filters = closest.length;
  const count = (values, threshold) => values.filter((one) => one >= threshold).length;
  const at = Array.from({ length: 101 - least }, (_, i) => (least + i) / 100);
  const wide = (width) => width >= 600;

  prunekitChart(root, {
    label: `Twins among the filters of ${layer}, and how many would go`,
    height: (width) => (wide(width) ? 340 : Math.min(width, 340) + 240),
    controls: [
      {
        name: "threshold",
        label: "twins from a similarity of",
        min: least,
        max: 100,
        value: Math.max(least, Math.min(80, Math.floor(100 * Math.max(...closest)))),
        text: (v) => (v / 100).toFixed(2),
      },
    ],
    draw(picture, values) {
      const threshold = values.threshold / 100, side = Math.min(picture.width, 340);
      const [middle, radius] = [side / 2, side / 2 - 26];
      const spot = (filter, r = radius) => {
        const angle = (2 * Math.PI * filter) / filters - Math.PI / 2;
        return [middle + r * Math.cos(angle), middle + r * Math.sin(angle)];
      };
      const shown = pairs.filter(([, , similarity]) => similarity >= threshold);
      for (const [a, b] of shown) {
        const [[x0, y0], [x1, y1]] = [spot(a), spot(b)];
        picture.add(`<line x1="${x0}" y1="${y0}" x2="${x1}" y2="${y1}" data-name="pair"
          stroke="${GOES}" stroke-width="1.5" opacity="0.6"/>`);
      }
      for (let filter = 0; filter < filters; filter++) {
        const twin = closest[filter] >= threshold, goes = outlived[filter] >= threshold;
        const colour = goes ? GOES : twin ? STAYS : ALONE, [x, y] = spot(filter);
        picture.add(`<circle cx="${x}" cy="${y}" r="${twin ? 6 : 4}" stroke="${colour}"
          stroke-width="2" fill="${goes ? "#fff" : colour}"/>`);
        if (!twin) continue;
        const [left, top] = spot(filter, radius + 16);
        picture.words(left, top + 4, filter, { anchor: "middle", size: 11 });
      }
      const box = wide(picture.width)
        ? { left: side + 10, width: picture.width - side - 10 }
        : { top: side, height: 240 };
      const twins = at.map((one) => [one, count(closest, one)]);
      const gone = at.map((one) => [one, count(outlived, one)]);
      const plot = picture.plot({
        box,
        x: { from: least / 100, to: 1, label: "threshold" },
        y: { from: 0, to: Math.max(1, twins[0][1]), label: "filters" },
      });
      plot.line(twins, { colour: STAYS });
      plot.line(gone, { colour: GOES });
      const [having, going] = [closest, outlived].map((all) => count(all, threshold));
      plot.line([[threshold, 0], [threshold, filters]], { width: 1, dash: "2 4" });
      plot.dots([[threshold, having]], { colour: STAYS, size: 10 });
      plot.handle("threshold", threshold, going, (x) => 100 * x, GOES);
      picture.legend("has a twin and stays", { dot: true, colour: STAYS });
      picture.legend("goes", { dot: true, colour: GOES });
      picture.legend("has none", { dot: true, colour: ALONE });
      if (!shown.length) return `No two of the ${filters} filters of ${layer} are so similar.`;
      return `${having} of the ${filters} filters of ${layer} have a twin (pairs: ` +
        `${shown.length}). ${going} would go, and then no two twins are left.`;
    },
  });
}
