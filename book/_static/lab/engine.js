// A SqueezeNet in plain JavaScript, for a worker: 3x3 and 1x1 convolutions as products of matrices.
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
    const layers = {};
    for (const { name, shape } of network.layers) {
      const [filters, channels, side] = shape, each = channels * side * side;
      const whole = take(Int8Array, filters * each), scale = take(Float32Array, filters);
      const weight = Float32Array.from(whole, (w, i) => w * scale[Math.floor(i / each)]);
      layers[name] = { filters, channels, side, weight, bias: take(Float32Array, filters) };
    }
    return layers;
  }

  // Columns of a convolution's input: a row for each channel and place under the kernel.
  function columns(x, side, stride, padding) {
    const height = Math.floor((x.height + 2 * padding - side) / stride) + 1;
    const places = height * height;
    if (side === 1 && stride === 1) return { data: x.data, height };
    const data = new Float32Array(x.channels * side * side * places);
    let row = 0;
    for (let c = 0; c < x.channels; c++)
      for (let u = 0; u < side; u++)
        for (let v = 0; v < side; v++, row += places)
          for (let i = 0; i < height; i++) {
            const y = i * stride + u - padding;
            if (y < 0 || y >= x.height) continue;
            const from = (c * x.height + y) * x.height, to = row + i * height;
            for (let j = 0; j < height; j++) {
              const z = j * stride + v - padding;
              if (z >= 0 && z < x.height) data[to + j] = x.data[from + z];
            }
          }
    return { data, height };
  }

  // Four rows of the columns for each pass over an output row, which stays in the nearest cache.
  function convolution(x, layer, { stride = 1, padding = 0, relu = true } = {}) {
    const { data, height } = columns(x, layer.side, stride, padding);
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
      if (relu) for (let i = 0; i < places; i++) if (row[i] < 0) row[i] = 0;
    }
    return { data: out, channels: layer.filters, height };
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

  function joined(a, b) {
    const data = new Float32Array(a.data.length + b.data.length);
    data.set(a.data);
    data.set(b.data, a.data.length);
    return { data, channels: a.channels + b.channels, height: a.height };
  }

  // What each layer puts out is handed to `see` by name, after its ReLU.
  function scores(layers, finalRelu, input, see = () => {}) {
    const apply = (x, name, options) => {
      const y = convolution(x, layers[name], options);
      see(name, y);
      return y;
    };
    let x = apply(input, "features.0", { stride: 2 });
    for (let place = 2; place <= 12; place++) {
      const fire = `features.${place}`;
      if (!layers[`${fire}.squeeze`]) {
        if (place !== 2 && place !== 5 && place !== 8) throw new Error(`no layer ${fire}`);
        x = pooled(x);
        continue;
      }
      const small = apply(x, `${fire}.squeeze`);
      x = joined(apply(small, `${fire}.expand1x1`), apply(small, `${fire}.expand3x3`, { padding: 1 }));
    }
    const maps = apply(x, "classifier.1", { relu: finalRelu }), places = maps.height ** 2;
    return Array.from({ length: maps.channels }, (_, c) => {
      let sum = 0;
      for (let i = 0; i < places; i++) sum += maps.data[c * places + i];
      return sum / places;
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

  const networks = {};
  const orders = {
    take: ({ network }) => void (networks[network.number] = { ...network, layers: unpacked(network) }),
    classify({ number, pixels, side, seen }) {
      const { layers, finalRelu, size } = networks[number], input = prepared(pixels, side, 32, size);
      let maps = null;
      const see = (name, y) => name === seen && (maps = y);
      return { scores: scores(layers, finalRelu, input, see), maps };
    },
    // The median of several passes: one that another program interrupted does not count.
    time({ number }) {
      const { layers, finalRelu, size } = networks[number], took = [];
      const input = { data: new Float32Array(3 * size * size), channels: 3, height: size };
      for (let pass = 0; pass < 14; pass++) {
        const begin = performance.now();
        scores(layers, finalRelu, input);
        if (pass >= 3) took.push(performance.now() - begin);
      }
      return { milliseconds: took.sort((a, b) => a - b)[5] };
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
