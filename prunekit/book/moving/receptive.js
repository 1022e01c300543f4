// What a cell sees of a picture, through layers that the reader writes or adds by a button.
function prunekitReceptive(root, { layers: start, side: pixels, sides }) {
  const { parsed, fitted, seen, field } = prunekitReceptive;
  const SEEN = "#0072B2", CELL = "#D55E00", MOST = 7, GAP = 18, HEAD = 36, PANEL = 170;
  const stack = ({ layers, side }) => {
    const read = parsed(layers), fits = fitted(read.layers.slice(0, MOST), side);
    const many = read.layers.length > MOST ? `More than ${MOST} layers are not drawn.` : "";
    return { ...fits, wrong: read.wrong || fits.wrong || many };
  };
  const last = (values) => stack(values).sides.at(-1);
  const middle = (n) => Math.floor((n - 1) / 2) * (n + 1);
  const by = (rows, columns) => `${rows} \u00d7 ${columns}`;
  const changed = (layers, side) => ({ layers, cell: middle(last({ layers, side })) });
  const added = (layer) => ({
    text: () => `Add ${layer}`,
    change: ({ layers, side }) => changed([layers.trim(), layer].filter(Boolean).join(", "), side),
  });
  const columns = (width) => Math.max(2, Math.floor((width + GAP) / (PANEL + GAP)));
  const panel = (width) =>
    Math.min(PANEL, Math.floor((width - GAP * (columns(width) - 1)) / columns(width)));

  // A map as large as the others, however many cells it has; stronger where more ways lead up.
  function map(picture, { left, top, room, name, colour, rows, across }) {
    const n = rows.length, size = room / n, most = Math.max(...rows) * Math.max(...across);
    picture.words(left, top + 12, name);
    picture.words(left, top + 28, by(n, n), { size: 11.5 });
    const first = top + HEAD;
    let svg = "";
    rows.forEach((up, row) => across.forEach((over, column) => {
      if (!up || !over) return;
      svg += `<rect x="${left + column * size}" y="${first + row * size}" width="${size}"
        height="${size}" fill="${colour}" opacity="${(0.3 + (0.7 * up * over) / most).toFixed(2)}"
        data-seen="${row},${column}"/>`;
    }));
    const lines = Array.from({ length: n + 1 }, (_, i) => (i * size).toFixed(2));
    const paths = lines.map((at) => `M${at} 0V${room}M0 ${at}H${room}`).join("");
    picture.add(`<g data-name="map">${svg}<path d="${paths}" stroke="#bbb" stroke-width="0.7"
      transform="translate(${left} ${first})"/></g>`);
    return { left, top: first, rows: n, columns: n, size };
  }

  prunekitChart(root, {
    label: "A picture and the maps that layers make of it, and what one cell of the last sees",
    height: (width, values) =>
      Math.ceil(stack(values).sides.length / columns(width)) * (HEAD + panel(width) + GAP),
    controls: [
      { name: "layers", label: "layers", kind: "text", value: start },
      {
        kind: "buttons",
        press: [
          added("conv 3"),
          added("conv 3 padding 1"),
          added("conv 3 stride 2"),
          added("pool 2"),
          {
            text: () => "Take the last away",
            change: ({ layers, side }) => changed(layers.split(",").slice(0, -1).join(","), side),
          },
        ],
      },
      {
        name: "side",
        label: "side of the picture",
        min: sides[0],
        max: sides[1],
        value: pixels,
        text: (v) => `${v} pixels`,
      },
      {
        name: "cell",
        label: "cell of the last map",
        max: (values) => last(values) ** 2 - 1,
        value: middle(last({ layers: start, side: pixels })),
        text: (v, values) => {
          const n = last(values);
          return `row ${Math.floor(v / n) + 1}, column ${(v % n) + 1}`;
        },
      },
    ],
    draw(picture, values) {
      const { layers, sides: all, wrong } = stack(values), n = all.at(-1);
      const place = [Math.floor(values.cell / n), values.cell % n];
      const [rows, across] = place.map((at) => seen(layers, all, at));
      const room = panel(picture.width), each = columns(picture.width);
      const drawn = all.map((_, i) => map(picture, {
        left: (i % each) * (room + GAP),
        top: Math.floor(i / each) * (HEAD + room + GAP),
        room,
        name: i ? layers[i - 1].name : "picture",
        colour: i === layers.length ? CELL : SEEN,
        rows: rows[i],
        across: across[i],
      }));
      picture.grid("cell", drawn.at(-1), (row, column) => row * n + column);
      picture.legend("the cell", { colour: CELL, width: 10 });
      picture.legend("what it sees: stronger where more ways lead up", { colour: SEEN, width: 10 });
      const { size, sum } = field(layers);
      const inside = [rows, across].map((counts) => counts[0].filter(Boolean).length);
      const whole = Math.min(...inside) === size;
      const cut = whole ? "" : `, of which ${by(...inside)} lie in the picture`;
      return `${wrong ? `${wrong} ` : ""}Row ${place[0] + 1}, column ${place[1] + 1} of the last ` +
        `map sees ${by(size, size)} pixels${cut}. Along one side: ${sum} = ${size}.`;
    },
  });
}

// "conv 3 stride 2, pool 2": what comes before the first part that cannot be read, and that part.
prunekitReceptive.parsed = (text) => {
  const form = /^(conv|pool) (\d\d?)( stride [1-9])?( padding \d)?$/, layers = [];
  for (const part of text.split(",").map((one) => one.trim().replace(/\s+/g, " "))) {
    if (!part && text.trim() === "") break;
    const [name, kind, kernel, ...settings] = form.exec(part) ?? [];
    if (!Number(kernel))
      return { layers, wrong: `"${part}" is no layer. Write: conv 3 stride 2 padding 1, pool 2.` };
    const [stride, padding] = settings.map((one) => one && Number(one.split(" ").at(-1)));
    layers.push({
      name,
      kernel: Number(kernel),
      stride: stride ?? (kind === "pool" ? Number(kernel) : 1),
      padding: padding ?? 0,
    });
  }
  return { layers, wrong: "" };
};

// The layers whose window fits into what they read, and the side of each map, the picture's first.
prunekitReceptive.fitted = (layers, pixels) => {
  const sides = [pixels];
  for (const { name, kernel, stride, padding } of layers) {
    const room = sides.at(-1) + 2 * padding - kernel;
    if (room < 0) {
      const wrong = `"${name}" does not fit into ${sides.at(-1)} cells.`;
      return { layers: layers.slice(0, sides.length - 1), sides, wrong };
    }
    sides.push(Math.floor(room / stride) + 1);
  }
  return { layers, sides, wrong: "" };
};

// Along one side: how many ways lead from each cell of each map, the picture's first, to one cell.
prunekitReceptive.seen = (layers, sides, cell) => {
  const counts = sides.map((side) => Array(side).fill(0));
  counts.at(-1)[cell] = 1;
  for (let level = layers.length - 1; level >= 0; level--) {
    const { kernel, stride, padding } = layers[level], below = counts[level];
    counts[level + 1].forEach((ways, at) => {
      const first = at * stride - padding;
      for (let one = first; ways && one < first + kernel; one++)
        if (one in below) below[one] += ways;
    });
  }
  return counts;
};

// r grows by (F - 1) j at every layer, and j by the stride.
prunekitReceptive.field = (layers) => {
  let size = 1, jump = 1, sum = "1";
  for (const { kernel, stride } of layers) {
    size += (kernel - 1) * jump;
    sum += ` + ${kernel - 1} \u00b7 ${jump}`;
    jump *= stride;
  }
  return { size, sum };
};
