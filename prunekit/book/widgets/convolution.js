// A convolution to play with, drawn as SVG. It needs no kernel, no network and no library.
function prunekitConvolution(root, image) {
  const CELL = 26, COLOURS = { image: "#ffffff", padding: "#e0e0e0", window: "#f6d9a8", output: "#a6dccb" };
  const input = (name) => root.querySelector(`[name=${name}]`);
  const value = (name) => Number(input(name).value);
  const text = (number) => String(number).replace("-", "\u2212");

  // A vertical edge detector of any size: right column minus left column.
  const weight = (size, column) => (size === 1 ? 1 : column === size - 1 ? 1 : column === 0 ? -1 : 0);

  function grid(x, title, rows, columns, content, colour) {
    let svg = `<text x="${x}" y="14" font-weight="bold">${title}</text>`;
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const left = x + column * CELL, top = 24 + row * CELL;
        svg += `<rect x="${left}" y="${top}" width="${CELL}" height="${CELL}" stroke="#888" fill="${colour(row, column)}"/>`;
        svg += `<text x="${left + CELL / 2}" y="${top + CELL / 2 + 4}" text-anchor="middle">${text(content(row, column))}</text>`;
      }
    }
    return svg;
  }

  function frame(x, row, column, size, colour) {
    return `<rect x="${x + column * CELL}" y="${24 + row * CELL}" width="${size * CELL}" height="${size * CELL}" fill="none" stroke="${colour}" stroke-width="3"/>`;
  }

  function draw() {
    const W = value("W"), F = value("F"), S = value("S"), P = value("P"), padded = W + 2 * P;
    for (const name of ["W", "F", "S", "P"]) root.querySelector(`output[for=${name}]`).textContent = value(name);
    const exact = (W - F + 2 * P) / S + 1, side = Math.floor(exact);
    const formula = root.querySelector(".formula"), picture = root.querySelector("svg");
    if (padded < F) {
      formula.textContent = `A window of ${F} does not fit into ${padded} pixels: there is no output.`;
      picture.innerHTML = "";
      return;
    }
    input("step").max = side * side - 1;
    const step = value("step"), row = Math.floor(step / side), column = step % side;
    root.querySelector("output[for=step]").textContent = `${step + 1} of ${side * side}`;

    const pixel = (r, c) => (r < P || c < P || r >= P + W || c >= P + W ? 0 : image[r - P][c - P]);
    const inside = (r, c) => r >= row * S && r < row * S + F && c >= column * S && c < column * S + F;
    const sum = (r, c) => {
      let total = 0;
      for (let i = 0; i < F; i++) for (let j = 0; j < F; j++) total += weight(F, j) * pixel(r * S + i, c * S + j);
      return total;
    };
    const unread = padded - ((side - 1) * S + F);
    formula.textContent =
      `output side = (W \u2212 F + 2P) / S + 1 = (${W} \u2212 ${F} + ${2 * P}) / ${S} + 1 = ` +
      (exact === side ? `${side}` : `${exact.toFixed(2)}, rounded down to ${side}`) +
      (unread ? `. The last ${unread} row${unread > 1 ? "s" : ""} and column${unread > 1 ? "s" : ""} of the padded image are never read.` : ".");
    const kernelAt = padded * CELL + 30, outputAt = kernelAt + Math.max(F * CELL, 60) + 30;
    const width = outputAt + Math.max(side * CELL, 60) + 4;
    picture.setAttribute("viewBox", `-2 0 ${width + 4} ${30 + padded * CELL}`);
    picture.style.maxWidth = `${width * 1.25}px`;
    picture.innerHTML =
      grid(0, "padded image", padded, padded, pixel, (r, c) =>
        inside(r, c) ? COLOURS.window : r < P || c < P || r >= P + W || c >= P + W ? COLOURS.padding : COLOURS.image) +
      frame(0, row * S, column * S, F, "#d55e00") +
      grid(kernelAt, "kernel", F, F, (r, c) => weight(F, c), () => COLOURS.window) +
      grid(outputAt, "output", side, side, (r, c) => (r * side + c <= step ? sum(r, c) : ""), (r, c) =>
        r * side + c <= step ? COLOURS.output : COLOURS.image) +
      frame(outputAt, row, column, 1, "#d55e00");
  }

  root.addEventListener("input", (event) => {
    if (event.target.name !== "step") input("step").value = 0;
    draw();
  });
  draw();
}
