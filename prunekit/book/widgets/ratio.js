// Filters kept and removed in each layer, by ratio and criterion. It needs no kernel, no network and no library.
function prunekitRatio(root, data) {
  const LEFT = 44, TOP = 10, BAR = 24, HEIGHT = 200, WIDTH = LEFT + data.layers.length * BAR + 8;
  const criterion = root.querySelector("select"), slider = root.querySelector("input");
  const picture = root.querySelector("svg"), summary = root.querySelector(".summary");
  const percent = (share, digits) => `${(100 * share).toFixed(digits)} %`;
  const tallest = Math.max(...data.filters), scale = HEIGHT / tallest;

  function bar(place, from, to, colour, stroke) {
    const x = LEFT + place * BAR + 3, y = TOP + HEIGHT - to * scale;
    return `<rect x="${x}" y="${y.toFixed(1)}" width="${BAR - 6}" height="${((to - from) * scale).toFixed(1)}" fill="${colour}" stroke="${stroke}" data-count="${to - from}"/>`;
  }

  function draw() {
    const curve = data.criteria[criterion.value], here = curve.points[Number(slider.value)];
    let svg = "";
    for (let step = 0; step <= 4; step++) {
      const y = TOP + (HEIGHT * step) / 4, count = Math.round((tallest * (4 - step)) / 4);
      svg += `<line x1="${LEFT}" x2="${WIDTH}" y1="${y}" y2="${y}" stroke="#ddd"/>`;
      svg += `<text x="${LEFT - 6}" y="${y + 4}" text-anchor="end">${count}</text>`;
    }
    data.layers.forEach((name, place) => {
      const all = data.filters[place], kept = all - here.removed[place];
      svg += bar(place, 0, kept, curve.colour, "none") + bar(place, kept, all, "#e0e0e0", "#999");
      const x = LEFT + (place + 0.5) * BAR + 4, y = TOP + HEIGHT + 8;
      svg += `<text transform="translate(${x} ${y}) rotate(-90)" text-anchor="end">${name}</text>`;
    });
    picture.setAttribute("viewBox", `0 0 ${WIDTH} ${TOP + HEIGHT + 44}`);
    picture.innerHTML = svg;
    const parts = data.parts.map((part, i) => `${percent(here.shares[i], 1)} ${part}`).join(", ");
    const from = here.ratio > 0 ? ` Of those removed: ${parts}.` : "";
    const text = `${percent(here.ratio, 0)} of the filters removed by ${curve.label}.${from} Test accuracy ${percent(here.accuracy, 1)}, mean of ${here.seeds} ${here.seeds === 1 ? "seed" : "seeds"}.`;
    summary.textContent = text;
    picture.setAttribute("aria-label", text);
    slider.setAttribute("aria-valuetext", percent(here.ratio, 0));
    root.querySelector("output").textContent = percent(here.ratio, 0);
  }

  // Another criterion may have been recorded at other ratios: stay as near as can be.
  function choose(ratio) {
    const points = data.criteria[criterion.value].points;
    let nearest = 0;
    points.forEach((point, i) => {
      if (Math.abs(point.ratio - ratio) < Math.abs(points[nearest].ratio - ratio)) nearest = i;
    });
    slider.max = points.length - 1;
    slider.value = nearest;
    shown = criterion.value;
    draw();
  }

  let shown = criterion.value;
  criterion.addEventListener("change", () => choose(data.criteria[shown].points[Number(slider.value)].ratio));
  slider.addEventListener("input", draw);
  choose(data.start);
}
