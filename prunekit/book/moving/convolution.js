// A convolution whose window the reader moves, cell by cell of its output.
function prunekitConvolution(root, { pixels, sliders }) {
  const { side, weight, output, pixel } = prunekitConvolution;
  const IMAGE = "#ffffff", PADDING = "#e0e0e0", WINDOW = "#f6d9a8", DONE = "#a6dccb";
  const FRAME = "#D55E00", GAP = 26, TOP = 22;
  const minus = (number) => String(number).replace("-", "\u2212");
  const outputs = (values) => side(values) ** 2;

  // Side by side where there is room, else the image above kernel and output.
  function layout(width, values) {
    const { W, F, P } = values, padded = W + 2 * P, n = side(values), wide = width >= 600;
    const room = wide
      ? (width - 2 * GAP) / (padded + F + n)
      : Math.min(width / padded, (width - GAP) / (F + n));
    const size = Math.floor(Math.min(room, 26)), below = TOP + padded * size + GAP;
    const kernel = wide ? { left: padded * size + GAP, top: TOP } : { left: 0, top: below };
    const at = { left: kernel.left + F * size + GAP, top: kernel.top };
    const height = wide ? TOP + Math.max(padded, F) * size : below + Math.max(F, n) * size;
    return { size, image: { left: 0, top: TOP }, kernel, output: at, height: height + 2 };
  }

  function cells(picture, { left, top }, size, rows, title, content, colour) {
    picture.words(left, top - 7, title);
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < rows; column++) {
        const [x, y] = [left + column * size, top + row * size];
        picture.add(`<rect x="${x}" y="${y}" width="${size}" height="${size}" stroke="#888"
          fill="${colour(row, column)}"/>`);
        const text = minus(content(row, column));
        picture.words(x + size / 2, y + size / 2 + 4, text, { anchor: "middle", size: 11.5 });
      }
  }

  function frame(picture, { left, top }, size, row, column, cells) {
    picture.add(`<rect x="${left + column * size}" y="${top + row * size}" fill="none"
      width="${cells * size}" height="${cells * size}" stroke="${FRAME}" stroke-width="3"/>`);
  }

  prunekitChart(root, {
    label: "A padded image with the window, the kernel, and the output so far",
    height: (width, values) => layout(width, values).height,
    controls: [
      ...sliders.map((slider) => ({ ...slider, text: (v) => `${v}` })),
      {
        name: "position",
        label: "position",
        max: (values) => Math.max(outputs(values) - 1, 0),
        value: 0,
        text: (v, values) => (outputs(values) ? `${v + 1} of ${outputs(values)}` : "none"),
      },
    ],
    draw(picture, values) {
      const { W, F, S, P, position } = values, padded = W + 2 * P, n = side(values);
      const { size, ...places } = layout(picture.width, values), sums = output(pixels, values);
      const row = Math.floor(position / n), column = position % n; // NaN where there is none
      const inside = (at, from) => at >= from * S && at < from * S + F;
      const shown = (r, c) => r * n + c <= position;
      const image = (r, c) => pixel(pixels, values, r, c);
      cells(picture, places.image, size, padded, "padded image", image, (r, c) => {
        if (inside(r, row) && inside(c, column)) return WINDOW;
        return [r, c].every((at) => at >= P && at < P + W) ? IMAGE : PADDING;
      });
      cells(picture, places.kernel, size, F, "kernel", (_, c) => weight(F, c), () => WINDOW);
      if (!n) return `A window of ${F} does not fit into ${padded} pixels: there is no output.`;
      cells(picture, places.output, size, n, "output", (r, c) => (shown(r, c) ? sums[r][c] : ""),
        (r, c) => (shown(r, c) ? DONE : IMAGE));
      frame(picture, places.image, size, row * S, column * S, F);
      frame(picture, places.output, size, row, column, 1);
      // In the image, the window whose middle is nearest to what is pointed at.
      const nearest = (at) => Math.max(0, Math.min(n - 1, Math.round((at - (F - 1) / 2) / S)));
      picture.grid("position", { ...places.image, rows: padded, columns: padded, size }, (r, c) =>
        nearest(r) * n + nearest(c));
      picture.grid("position", { ...places.output, rows: n, columns: n, size }, (r, c) =>
        r * n + c);
      const exact = (padded - F) / S + 1, unread = padded - ((n - 1) * S + F);
      const rounded = exact === n ? n : `${exact.toFixed(2)}, rounded down to ${n}`;
      const lines = unread === 1 ? "row and column" : `${unread} rows and columns`;
      const rest = unread ? ` The last ${lines} of the padded image are never read.` : "";
      const numbers = `(${W} \u2212 ${F} + ${2 * P}) / ${S} + 1`;
      return `Output side = (W \u2212 F + 2P) / S + 1 = ${numbers} = ${rounded}.${rest} ` +
        `In row ${row + 1} and column ${column + 1} of the output, the products add up to ` +
        `${minus(sums[row][column])}.`;
    },
  });
}

prunekitConvolution.side = ({ W, F, S, P }) => Math.max(0, Math.floor((W - F + 2 * P) / S) + 1);

// A vertical edge detector of any size: right column minus left column.
prunekitConvolution.weight = (size, column) =>
  size === 1 || column === size - 1 ? 1 : column === 0 ? -1 : 0;

prunekitConvolution.pixel = (pixels, { W, P }, row, column) =>
  [row, column].every((at) => at >= P && at < P + W) ? pixels[row - P][column - P] : 0;

prunekitConvolution.output = (pixels, values) => {
  const { side, weight, pixel } = prunekitConvolution, { F, S } = values, n = side(values);
  const each = (count, make) => Array.from({ length: count }, (_, place) => make(place));
  const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
  return each(n, (row) => each(n, (column) =>
    sum(each(F, (i) => sum(each(F, (j) =>
      weight(F, j) * pixel(pixels, values, row * S + i, column * S + j)))))));
};
