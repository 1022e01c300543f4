// Networks in plain JavaScript, for a worker: convolutions as products of matrices, step by step as the
// network's file says (prunekit/book/in_page.py writes it).
// Its own text is the worker's program, so it refers to nothing outside itself.
function prunekitEngine() {
  const MEAN = [0.485, 0.456, 0.406], DEVIATION = [0.229, 0.224, 0.225];

  function unpacked(network) {
    const text = atob(network.weights), bytes = new Uint8Array(text.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
    let begin = 0;
    const take = (Kind, count) => {
      const part = new Kind(bytes.buffer, begin, count);
      begin += Math.ceil(part.byteLength / 4) * 4;
      return part;
    };
    return network.layers.map(({ name, shape }) => {
      const [filters, channels, side] = shape, each = channels * side * side;
      const whole = take(Int8Array, filters * each), scale = take(Float32Array, filters);
      const weight = Float32Array.from(whole, (w, i) => w * scale[Math.floor(i / each)]);
      return { name, filters, channels, side, weight, bias: take(Float32Array, filters) };
    });
  }

  const sideAfter = (side, kernel, stride, before, after) =>
    Math.floor((side + before + after - kernel) / stride) + 1;

  // Columns of a convolution's input: a row for each channel and place under the kernel.
  function columns(x, side, stride, [top, left, bottom]) {
    if (side === 1 && stride === 1) return { data: x.data, height: x.height };
    const height = sideAfter(x.height, side, stride, top, bottom), places = height * height;
    const data = new Float32Array(x.channels * side * side * places);
    let row = 0;
    for (let c = 0; c < x.channels; c++)
      for (let u = 0; u < side; u++)
        for (let v = 0; v < side; v++, row += places)
          for (let i = 0; i < height; i++) {
            const y = i * stride + u - top;
            if (y < 0 || y >= x.height) continue;
            const from = (c * x.height + y) * x.height, to = row + i * height;
            for (let j = 0; j < height; j++) {
              const z = j * stride + v - left;
              if (z >= 0 && z < x.height) data[to + j] = x.data[from + z];
            }
          }
    return { data, height };
  }

  function activate(row, act) {
    if (!act) return;
    const most = act === "relu6" ? 6 : Infinity;
    for (let i = 0; i < row.length; i++) row[i] = row[i] < 0 ? 0 : row[i] > most ? most : row[i];
  }

  // Four rows of the columns for each pass over an output row, which stays in the nearest cache.
  function convolution(x, layer, { stride, pads, act }) {
    const { data, height } = columns(x, layer.side, stride, pads);
    const places = height * height, depth = layer.channels * layer.side * layer.side;
    const out = new Float32Array(layer.filters * places), weight = layer.weight;
    for (let f = 0; f < layer.filters; f++) {
      const row = out.subarray(f * places, (f + 1) * places).fill(layer.bias[f]);
      let k = 0;
      for (; k + 4 <= depth; k += 4) {
        const at = f * depth + k, a = k * places, b = a + places, c = b + places, d = c + places;
        const p = weight[at], q = weight[at + 1], r = weight[at + 2], s = weight[at + 3];
        for (let i = 0; i < places; i++)
          row[i] += p * data[a + i] + q * data[b + i] + r * data[c + i] + s * data[d + i];
      }
      for (; k < depth; k++) {
        const p = weight[f * depth + k], a = k * places;
        for (let i = 0; i < places; i++) row[i] += p * data[a + i];
      }
      activate(row, act);
    }
    return { data: out, channels: layer.filters, height };
  }

  // Depthwise: each filter reads its own channel, and a product of matrices would be of single rows.
  function filtered(x, layer, { stride, pads: [top, left, bottom], act }) {
    const { side, filters, weight } = layer, height = sideAfter(x.height, side, stride, top, bottom);
    const out = new Float32Array(filters * height * height);
    for (let f = 0; f < filters; f++) {
      const row = out.subarray(f * height * height, (f + 1) * height * height).fill(layer.bias[f]);
      for (let u = 0; u < side; u++)
        for (let v = 0; v < side; v++) {
          const w = weight[(f * side + u) * side + v];
          const first = Math.max(0, Math.ceil((left - v) / stride));
          const last = Math.min(height, Math.floor((x.height - 1 + left - v) / stride) + 1);
          for (let i = 0; i < height; i++) {
            const y = i * stride + u - top;
            if (y < 0 || y >= x.height) continue;
            const from = (f * x.height + y) * x.height + v - left, to = i * height;
            for (let j = first; j < last; j++) row[to + j] += w * x.data[from + j * stride];
          }
        }
      activate(row, act);
    }
    return { data: out, channels: filters, height };
  }

  // Three by three, two apart; the last window may hang over the edge.
  function pooled(x) {
    let height = Math.ceil((x.height - 3) / 2) + 1;
    if ((height - 1) * 2 >= x.height) height--;
    const out = new Float32Array(x.channels * height * height);
    let o = 0;
    for (let c = 0; c < x.channels; c++)
      for (let i = 0; i < height; i++)
        for (let j = 0; j < height; j++, o++) {
          let most = -Infinity;
          for (let y = 2 * i; y < Math.min(2 * i + 3, x.height); y++)
            for (let z = 2 * j; z < Math.min(2 * j + 3, x.height); z++)
              most = Math.max(most, x.data[(c * x.height + y) * x.height + z]);
          out[o] = most;
        }
    return { data: out, channels: x.channels, height };
  }

  function joined(...parts) {
    const data = new Float32Array(parts.reduce((sum, part) => sum + part.data.length, 0));
    let begin = 0;
    for (const part of parts) {
      data.set(part.data, begin);
      begin += part.data.length;
    }
    return { data, channels: parts.reduce((sum, part) => sum + part.channels, 0), height: parts[0].height };
  }

  function sum(a, b) {
    return { ...a, data: a.data.map((value, i) => value + b.data[i]) };
  }

  function mean(x) {
    const places = x.height ** 2, data = new Float32Array(x.channels);
    for (let c = 0; c < x.channels; c++) {
      let all = 0;
      for (let i = 0; i < places; i++) all += x.data[c * places + i];
      data[c] = all / places;
    }
    return { data, channels: x.channels, height: 1 };
  }

  // Maps whose channels are `each` numbers for every anchor: read place by place, anchor by anchor.
  function byAnchor(maps) {
    const data = new Float32Array(maps.reduce((all, { data }) => all + data.length, 0));
    let o = 0;
    for (const { data: from, channels, height } of maps)
      for (let place = 0; place < height * height; place++)
        for (let c = 0; c < channels; c++) data[o++] = from[c * height * height + place];
    return data;
  }

  const OPERATIONS = { pool: pooled, mean, cat: joined, add: sum };

  // What each layer puts out is handed to `see` by name, after its activation.
  function run({ layers, steps, outputs }, input, see = () => {}) {
    const values = [input];
    for (const step of steps) {
      const given = step.from.map((at) => values[at]);
      if (step.op !== "conv") {
        values.push(OPERATIONS[step.op](...given));
        continue;
      }
      const layer = layers[step.layer], depthwise = layer.channels === 1 && given[0].channels > 1;
      values.push((depthwise ? filtered : convolution)(given[0], layer, step));
      see(layer.name, values.at(-1));
    }
    return outputs.map(({ values: all, each }) => {
      const maps = all.map((at) => values[at]);
      return each === null ? joined(...maps).data : byAnchor(maps);
    });
  }

  // Pixels (red, green, blue and alpha, whole numbers) reduced to `small`, normalised as for the
  // training, and enlarged to `size` between pixel centres: what the network was trained on.
  function prepared(pixels, side, small, size) {
    const block = side / small, tiny = new Float32Array(3 * small * small);
    for (let c = 0; c < 3; c++)
      for (let i = 0; i < small; i++)
        for (let j = 0; j < small; j++) {
          let sum = 0;
          for (let y = i * block; y < (i + 1) * block; y++)
            for (let x = j * block; x < (j + 1) * block; x++) sum += pixels[4 * (y * side + x) + c];
          const mean = Math.floor(sum / block ** 2 + 0.5);
          tiny[(c * small + i) * small + j] = (mean - 255 * MEAN[c]) / (255 * DEVIATION[c]);
        }
    const near = Array.from({ length: size }, (_, i) => {
      const at = Math.max(0, ((i + 0.5) * small) / size - 0.5), low = Math.floor(at);
      return [low, Math.min(low + 1, small - 1), at - low];
    });
    const data = new Float32Array(3 * size * size);
    for (let c = 0, o = 0; c < 3; c++)
      for (const [top, bottom, down] of near)
        for (const [left, right, across] of near) {
          const at = (y, x) => tiny[(c * small + y) * small + x];
          const upper = at(top, left) * (1 - across) + at(top, right) * across;
          const lower = at(bottom, left) * (1 - across) + at(bottom, right) * across;
          data[o++] = upper * (1 - down) + lower * down;
        }
    return { data, channels: 3, height: size };
  }

  // Pixels from -1 to 1, as the detector was trained on them.
  function centred(pixels, side) {
    const places = side * side, data = new Float32Array(3 * places);
    for (let c = 0; c < 3; c++)
      for (let i = 0; i < places; i++) data[c * places + i] = pixels[4 * i + c] / 127.5 - 1;
    return { data, channels: 3, height: side };
  }

  // Boxes as shares of the picture, from offsets and the shapes of anchors at each place of a map.
  function decoded({ maps, shapes, scales }, offsets) {
    const boxes = [];
    let at = 0;
    maps.forEach((side, map) => {
      for (let place = 0; place < side * side; place++)
        for (const [width, height] of shapes[map]) {
          const [dx, dy, dw, dh] = scales.map((scale, k) => offsets[at + k] / scale);
          at += 4;
          const x = ((place % side) + 0.5) / side + dx * width, w = width * Math.exp(dw);
          const y = (Math.floor(place / side) + 0.5) / side + dy * height, h = height * Math.exp(dh);
          boxes.push([x - w / 2, y - h / 2, x + w / 2, y + h / 2]);
        }
    });
    return boxes;
  }

  function overlap(a, b) {
    const area = ([l, t, r, d]) => (r - l) * (d - t);
    const wide = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
    const high = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
    const common = Math.max(0, wide) * Math.max(0, high);
    return common / (area(a) + area(b) - common);
  }

  // The likeliest box, then the next that overlaps none of those kept too much, and so on.
  function people(detector, [scores, offsets], least) {
    const boxes = decoded(detector, offsets);
    const found = boxes.map((box, i) => ({ box, score: 1 / (1 + Math.exp(-scores[2 * i + 1])) }));
    const kept = [];
    for (const one of found.filter(({ score }) => score >= least).sort((a, b) => b.score - a.score))
      if (kept.every(({ box }) => overlap(box, one.box) <= detector.overlap)) kept.push(one);
    const inside = (value) => Math.min(1, Math.max(0, value));
    return kept.map(({ box, score }) => ({ score, box: box.map(inside) }));
  }

  const networks = {};
  const orders = {
    take: ({ network }) => void (networks[network.name] = { ...network, layers: unpacked(network) }),
    classify({ name, pixels, side, seen }) {
      const network = networks[name], input = prepared(pixels, side, 32, network.size);
      let maps = null;
      const see = (layer, y) => layer === seen && (maps = y);
      const [scores] = run(network, input, see);
      return { scores: Array.from(scores), maps };
    },
    detect({ name, pixels, least }) {
      const network = networks[name];
      return people(network, run(network, centred(pixels, network.size)), least);
    },
    // The median of several passes: one that another program interrupted does not count.
    time({ name, passes = 11 }) {
      const network = networks[name], { size } = network, took = [];
      const input = { data: new Float32Array(3 * size * size), channels: 3, height: size };
      for (let pass = -Math.ceil(passes / 4); pass < passes; pass++) {
        const begin = performance.now();
        run(network, input);
        if (pass >= 0) took.push(performance.now() - begin);
      }
      return { milliseconds: took.sort((a, b) => a - b)[Math.floor(passes / 2)] };
    },
  };
  self.onmessage = ({ data: { id, order, given } }) => {
    try {
      self.postMessage({ id, answer: orders[order](given) });
    } catch (error) {
      self.postMessage({ id, error: String(error) });
    }
  };
}
