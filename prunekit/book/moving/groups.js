// Channels by number, and every number of a network that goes with the channel that is pointed at.
function prunekitGroups(root, { networks }) {
  const { cut, words } = prunekitGroups;
  const STAYS = "#d9d9d9", SIZE = 18, GAP = 16, HEAD = 34, LETTER = 6.4, INNER = 6;
  const numbered = (groups) => groups.some((group) => group !== null);

  // Each module as wide as its name and its tensors, in lines like words of a text.
  function layout(width, { modules }) {
    let left = 0, top = 0, high = 0;
    const boxes = modules.map((module) => {
      const { name, kind, tensors } = module;
      const columns = tensors.reduce((sum, one) => sum + one.columns.length, 0);
      const cells = (1 + columns) * SIZE + tensors.length * INNER;
      const wide = Math.max(cells, name.length * LETTER, kind.length * LETTER);
      if (left && left + wide > width) [left, top, high] = [0, top + high, 0];
      const box = { module, left, top };
      left += wide + GAP;
      high = Math.max(high, HEAD + (1 + tensors[0].rows.length) * SIZE + GAP);
      return box;
    });
    return { boxes, height: top + high };
  }

  function box(picture, { module, left, top }, { colours }, group) {
    const { name, kind, tensors } = module, first = top + HEAD + SIZE;
    picture.words(left, top + 12, name, { size: 11.5 });
    picture.words(left, top + 26, kind, { size: 11, colour: "#555" });

    // Channels as squares with the numbers of their groups; what is pointed at sets the slider.
    function channels(groups, x, y, across) {
      groups.forEach((one, i) => {
        const [at, up] = across ? [x + i * SIZE, y] : [x, y + i * SIZE];
        const { fill, ink } = colours[one];
        picture.add(`<g data-channel="${name}" data-group="${one}"
          opacity="${one === group ? 1 : 0.4}"><rect x="${at + 1}" y="${up + 1}" rx="3"
          width="${SIZE - 2}" height="${SIZE - 2}" fill="${fill}"/><text x="${at + SIZE / 2}"
          y="${up + SIZE / 2 + 4}" text-anchor="middle" style="fill: ${ink}; font-size: 11px">${one}
          </text></g>`);
      });
      const [rows, columns] = across ? [1, groups.length] : [groups.length, 1];
      picture.grid("group", { left: x, top: y, rows, columns, size: SIZE }, (row, column) =>
        groups[row + column]);
    }

    if (numbered(tensors[0].rows)) channels(tensors[0].rows, left, first, false);
    let x = left + SIZE + INNER;
    for (const tensor of tensors) {
      const gone = new Set(cut(tensor, group).map((cell) => cell.join()));
      tensor.rows.forEach((_, row) => tensor.columns.forEach((_, column) => {
        const hit = gone.has(`${row},${column}`);
        const mark = hit ? `data-cut="${tensor.name}:${row},${column}"` : "";
        picture.add(`<rect x="${x + column * SIZE + 1}" y="${first + row * SIZE + 1}"
          width="${SIZE - 2}" height="${SIZE - 2}" ${mark}
          fill="${hit ? colours[group].fill : STAYS}"/>`);
      }));
      if (numbered(tensor.columns)) channels(tensor.columns, x, first - SIZE, true);
      else
        picture.words(x + SIZE / 2, first - 5, tensor.symbol, { anchor: "middle", size: 11.5 });
      x += tensor.columns.length * SIZE + INNER;
    }
  }

  prunekitChart(root, {
    label: "Every channel and every number of a small network, and what goes with one channel",
    height: (width, { network = 0 }) => layout(width, networks[network]).height,
    controls: [
      ...(networks.length > 1
        ? [{
            name: "network",
            label: "network",
            kind: "choice",
            options: networks.map(({ label }) => label),
          }]
        : []),
      {
        name: "group",
        label: "dependency group",
        max: ({ network = 0 }) => networks[network].colours.length - 1,
        value: 1,
        text: (v) => (v ? `${v}` : "0: must stay"),
      },
    ],
    draw(picture, { network = 0, group }) {
      const shown = networks[network], { fill } = shown.colours[group];
      for (const one of layout(picture.width, shown).boxes) box(picture, one, shown, group);
      picture.legend("a channel, with the number of its group", { dot: true, colour: fill });
      if (!group)
        return "The channels numbered 0 must stay, and nothing goes with them: they are the " +
          "input and the output of the network, or tied to them.";
      picture.legend("a number that goes", { colour: fill, width: 10 });
      picture.legend("a number that stays", { colour: STAYS, width: 10 });
      const { said, filters, parameters } = words(shown.modules, group);
      const take = filters === 1
        ? "This one can go alone, and takes along"
        : `These ${filters} can only go together, and take along`;
      return `Group ${group}: ${said.filter}. ${take} ${said.rest}. ` +
        `That makes ${parameters} of ${shown.parameters} parameters.`;
    },
  });
}

// The cells of a tensor, row and column, that a group takes: by their filter or by their channel.
prunekitGroups.cut = ({ rows, columns }, group) =>
  group === 0 ? [] : rows.flatMap((row, i) =>
    columns.flatMap((column, j) => (row === group || column === group ? [[i, j]] : [])));

// All places of a group in words, and how many filters and parameters it takes.
prunekitGroups.words = (modules, group) => {
  const found = { filter: [], rest: [] };
  let filters = 0, parameters = 0;
  const places = (groups) => groups.flatMap((one, i) => (one === group ? [i] : []));
  function say(list, part, at, name) {
    if (at.length) list.push(`${part}${at.length > 1 ? "s" : ""} ${at.join(" and ")} of ${name}`);
  }
  for (const { name, part, tensors } of modules) {
    const [{ rows, columns }] = tensors, made = places(rows);
    say(part === "filter" ? found.filter : found.rest, part, made, name);
    say(found.rest, part === "filter" ? "input channel" : part, places(columns), name);
    if (part === "filter") filters += made.length;
    for (const tensor of tensors)
      if (tensor.learnt) parameters += prunekitGroups.cut(tensor, group).length * tensor.each;
  }
  const list = (items) => items.join(", ").replace(/, ([^,]*)$/, " and $1");
  return { said: { filter: list(found.filter), rest: list(found.rest) }, filters, parameters };
};
