// A min-heap of the reader's own scores, step by step: prunekit.book.heap.heap_states, and a push.
function prunekitHeap(root, { scores, operations, floor, most }) {
  const { parsed, states } = prunekitHeap;
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
  const NODE = 19, LEVEL = 62, BOX = 46, FIRST = 26;
  const list = (entries) => entries.map(({ name }) => name).join(", ") || "none";
  const all = (values) => states(values.scores, values.then, values.floor, most);
  const said = (number) => (number / 100).toFixed(2);
  const appended = (values, word) => ({
    then: `${values.then} ${word}`.trim(),
    step: all(values).length, // the first state of what was appended
  });

  function height(width, values) {
    const largest = Math.max(...all(values).map(({ heap }) => heap.length));
    const rows = Math.ceil((largest * BOX) / width);
    return FIRST + LEVEL * Math.ceil(Math.log2(largest + 1)) + rows * 52;
  }

  prunekitChart(root, {
    label: "A heap as a tree and as an array",
    height,
    controls: [
      { name: "scores", label: "layers and scores", kind: "text", value: scores },
      { name: "then", label: "then", kind: "text", value: operations },
      {
        name: "floor",
        label: "filters that stay in a layer",
        max: 3,
        value: floor,
        text: (v) => `${v} or more`,
      },
      { name: "number", label: "a score to push", max: 100, value: 15, text: said },
      {
        kind: "buttons",
        press: [
          { text: () => "Back", change: ({ step }) => ({ step: step - 1 }) },
          { text: () => "Next", change: ({ step }) => ({ step: step + 1 }) },
          { text: () => "Pop the lowest", change: (values) => appended(values, "pop") },
          {
            text: ({ number }) => `Push ${said(number)}`,
            change: (values) => appended(values, said(values.number)),
          },
          { text: () => "Forget what came then", change: () => ({ then: "", step: 0 }) },
        ],
      },
      {
        name: "step",
        label: "step",
        max: (values) => all(values).length - 1,
        value: 0,
        text: (v, values) => `${v} of ${all(values).length - 1}`,
      },
    ],
    draw(picture, values) {
      const { heap, taken, kept, focus, note } = all(values)[values.step];
      const typed = parsed(`${values.scores} ${values.then}`);
      const layers = [...new Set(typed.map(({ layer }) => layer))];
      const colour = ({ layer }) => COLOURS[layers.indexOf(layer) % COLOURS.length];
      const levels = Math.ceil(Math.log2(Math.max(heap.length, 1) + 1));
      const spot = (place) => {
        const level = Math.floor(Math.log2(place + 1)), wide = 2 ** level;
        return [((place + 1 - wide + 0.5) * picture.width) / wide, FIRST + level * LEVEL];
      };
      heap.forEach((_, place) => {
        if (!place) return;
        const [[x0, y0], [x1, y1]] = [spot(Math.floor((place - 1) / 2)), spot(place)];
        picture.add(`<line x1="${x0}" y1="${y0}" x2="${x1}" y2="${y1}" stroke="#999"/>`);
      });
      const shape = (entry, place) =>
        `fill="${focus.includes(place) ? "#f6d9a8" : "#fff"}" stroke="${colour(entry)}"
        stroke-width="2.5"`;
      const across = Math.max(1, Math.floor(picture.width / BOX));
      heap.forEach((entry, place) => {
        const [x, y] = spot(place), score = picture.number(entry.score);
        picture.add(`<circle cx="${x}" cy="${y}" r="${NODE}" ${shape(entry, place)}/>`);
        picture.words(x, y + 4, score, { anchor: "middle", size: 11.5 });
        picture.words(x, y + NODE + 13, entry.name, { anchor: "middle", size: 11 });
        const left = (place % across) * BOX + 1;
        const top = FIRST + LEVEL * levels - 6 + Math.floor(place / across) * 52;
        picture.add(`<rect x="${left}" y="${top}" width="${BOX - 2}" height="26"
          ${shape(entry, place)}/>`);
        picture.words(left + BOX / 2 - 1, top + 17, score, { anchor: "middle", size: 11.5 });
        picture.words(left + BOX / 2 - 1, top + 39, place, { anchor: "middle", size: 11 });
      });
      picture.label = `The array: ${heap.map((one) => `${one.name} ${one.score}`).join(", ")}`;
      for (const layer of layers)
        picture.legend(`layer ${layer}`, { dot: true, colour: colour({ layer }) });
      return `${note}. Taken: ${list(taken)}. Kept by the floor: ${list(kept)}.`;
    },
  });
}

// "a 0.6 0.3 b 0.4 pop": a word names the layer of the numbers behind it, "pop" takes the lowest.
// "push 0.5" may be written too: the number alone says it.
prunekitHeap.parsed = (text) => {
  let layer = "a";
  return text.split(/[\s,;:]+/).flatMap((word) => {
    if (/^pop$/i.test(word)) return { pop: true, layer };
    if (/^push$/i.test(word)) return [];
    if (word !== "" && Number.isFinite(Number(word))) return { score: Number(word), layer };
    if (word) layer = word;
    return [];
  });
};

prunekitHeap.states = (scores, then, floor, most) => {
  const found = [], heap = [], taken = [], kept = [];
  // Without the names that every object has: a layer may be called "constructor".
  const left = Object.create(null), named = Object.create(null);
  const below = (a, b) =>
    a.score - b.score || (a.layer < b.layer ? -1 : a.layer > b.layer ? 1 : a.filter - b.filter);
  const record = (note, ...focus) =>
    found.push({ heap: [...heap], taken: [...taken], kept: [...kept], focus, note });
  const swap = (a, b) => ([heap[a], heap[b]] = [heap[b], heap[a]]);

  function add({ score, layer }) {
    const filter = (named[layer] = (named[layer] ?? -1) + 1);
    left[layer] = (left[layer] ?? 0) + 1;
    heap.push({ score, layer, filter, name: `${layer}${filter}` });
  }

  function sink(place) {
    for (;;) {
      let least = place;
      for (const child of [2 * place + 1, 2 * place + 2])
        if (child < heap.length && below(heap[child], heap[least]) < 0) least = child;
      if (least === place) return;
      swap(place, least);
      record(`${heap[least].score} was above its smaller child ${heap[place].score}: they swap`,
        place, least);
      place = least;
    }
  }

  function rise(place) {
    for (;;) {
      const parent = Math.floor((place - 1) / 2);
      if (!place || below(heap[parent], heap[place]) <= 0) return;
      swap(place, parent);
      record(`${heap[parent].score} was below its parent ${heap[place].score}: they swap`,
        parent, place);
      place = parent;
    }
  }

  function pop() {
    const lowest = heap[0], free = left[lowest.layer] > floor;
    if (free) left[lowest.layer]--;
    (free ? taken : kept).push(lowest);
    let note = free
      ? `Take ${lowest.name} (${lowest.score})`
      : `Layer ${lowest.layer} is at its floor: ${lowest.name} stays`;
    const last = heap.pop();
    if (heap.length) {
      heap[0] = last;
      note += `; the last entry, ${last.name}, moves to the root`;
    }
    record(note, 0);
    if (heap.length) sink(0);
    return free;
  }

  const given = prunekitHeap.parsed(scores).filter((one) => !one.pop);
  given.slice(0, most).forEach(add);
  if (!given.length)
    record("There is no score yet: type the name of a layer and its scores behind it");
  else if (given.length > most)
    record(`Of ${given.length} scores the first ${most} are here, as the layers gave them`);
  else record("The scores as the layers gave them: not a heap yet");
  for (let place = Math.floor(heap.length / 2) - 1; place >= 0; place--) sink(place);
  if (heap.length) record("No parent exceeds a child: this is a heap, its root the lowest score", 0);
  for (const one of prunekitHeap.parsed(then)) {
    if (one.pop) while (heap.length && !pop()); // what the floor keeps makes room for the next
    else if (heap.length < most) {
      add(one);
      record(`Push ${one.score}: it goes to the end of the array`, heap.length - 1);
      rise(heap.length - 1);
    } else record(`There is no room for ${one.score}: ${most} entries are here`);
  }
  return found;
};
