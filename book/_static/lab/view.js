// What the reader sees of the lab, and does in it. Given what lab.js holds; loaded on the click.
function prunekitLabView({ networks, pictures, recorded, network, order }) {
  const CLASSES = [
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
  ];
  const SIDE = 128, CELL = 44;

  const { percent, millions, megabytes } = prunekitShown;

  function softmax(scores) {
    const most = Math.max(...scores), raised = scores.map((score) => Math.exp(score - most));
    const sum = raised.reduce((a, b) => a + b);
    return raised.map((one) => one / sum);
  }

  const PANEL = (title, kind) => `<section class="network" data-network="${kind}">
    <h3>${title}</h3>
    <p class="answer" aria-live="polite"></p>
    <ol class="probabilities"></ol>
    <dl>
      <dt>Weights</dt><dd data-fact="bytes"></dd>
      <dt>Multiply-adds</dt><dd data-fact="macs"></dd>
      <dt>Time here</dt><dd data-fact="time"></dd>
      <dt>Test accuracy</dt><dd data-fact="accuracy"></dd>
    </dl></section>`;
  const BODY = `<div class="choice">
      <canvas class="chosen" width="${SIDE}" height="${SIDE}" role="img"></canvas>
      ${PrunekitChooser.CHOICE}
    </div>
    <label class="removed">Filters removed
      <input type="range" min="1" step="1"><output></output></label>
    <div class="networks">${PANEL("Original", "original")}${PANEL("Pruned", "pruned")}</div>
    <div class="deep"><h3>Filters left in each layer</h3>
    <div class="layers"></div>
    <h3>What a layer sees</h3>
    <p><label>Layer <select></select></label> <span class="legend"></span></p>
    <canvas class="maps" role="img"></canvas>
    <p class="times"><button type="button" class="copy">Copy my times as JSON</button>
      <span role="status"></span></p></div>
    <p class="message" role="alert"></p>`;

  const NAMES = { "features.0": "first", "classifier.1": "classes" };
  const short = (name) => NAMES[name] ?? name.replace("features.", "");

  return class Lab extends PrunekitChooser {
    constructor(root) {
      super(root, BODY, pictures);
      this.times = {};
      this.slider = this.find(".removed input");
      this.slider.max = recorded.length - 1;
      this.slider.value = Math.floor(recorded.length / 2);
      this.select = this.find("select");
      this.slider.addEventListener("input", () => this.act(() => this.classify()));
      this.select.addEventListener("change", () => this.act(() => this.classify()));
      this.find(".copy").addEventListener("click", () => this.act(() => this.copy()));
    }

    // The square in the middle of the picture.
    async use(source, width, height, name) {
      const shown = this.find(".chosen"), side = Math.min(width, height);
      const context = shown.getContext("2d", { willReadFrequently: true });
      context.imageSmoothingQuality = "high";
      context.clearRect(0, 0, SIDE, SIDE); // a picture may be transparent in places
      context.drawImage(source, (width - side) / 2, (height - side) / 2, side, side, 0, 0, SIDE, SIDE);
      this.pixels = context.getImageData(0, 0, SIDE, SIDE).data;
      shown.setAttribute("aria-label", `The picture to classify: ${name}`);
      await this.classify();
    }

    // Answers come while the slider still moves: only the last one asked for is shown.
    async classify() {
      const number = Number(this.slider.value), turn = (this.turn = (this.turn ?? 0) + 1);
      const removed = percent(recorded[number].ratio, 0);
      this.find(".removed output").textContent = removed;
      this.slider.setAttribute("aria-valuetext", removed);
      await Promise.all([network(0), network(number)]);
      if (!this.select.options.length) this.listLayers();
      const found = {};
      for (const each of [0, number]) {
        const given = { name: each, pixels: this.pixels, side: SIDE, seen: this.select.value };
        found[each] = await order("classify", given);
      }
      if (turn !== this.turn) return;
      this.showNetwork("original", 0, found[0]);
      this.showNetwork("pruned", number, found[number]);
      this.showLayers(number);
      this.showMaps(number, found[0].maps);
      for (const each of [0, number])
        this.times[each] ??= (await order("time", { name: each })).milliseconds;
      if (turn === this.turn) this.showTimes(number);
    }

    showNetwork(kind, number, { scores }) {
      const panel = this.find(`[data-network=${kind}]`), facts = recorded[number];
      const shares = softmax(scores);
      const likely = [...shares.keys()].sort((a, b) => shares[b] - shares[a]);
      panel.dataset.scores = JSON.stringify(scores);
      panel.dataset.number = number;
      panel.querySelector(".answer").textContent = `${CLASSES[likely[0]]}, ${percent(shares[likely[0]])}`;
      panel.querySelector("ol").innerHTML = likely
        .slice(0, 4)
        .map((c) => {
          const bar = `<i style="width: ${(100 * shares[c]).toFixed(1)}%"></i>`;
          return `<li><span>${CLASSES[c]}</span>${bar}<b>${percent(shares[c])}</b></li>`;
        })
        .join("");
      const fact = (name, text) => (panel.querySelector(`[data-fact=${name}]`).textContent = text);
      fact("bytes", megabytes(facts.bytes));
      fact("macs", millions(facts.macs));
      fact("accuracy", percent(facts.test_accuracy));
      fact("time", number in this.times ? "" : "measuring …");
    }

    showTimes(number) {
      for (const [kind, each] of [["original", 0], ["pruned", number]])
        this.find(`[data-network=${kind}] [data-fact=time]`).textContent =
          `${this.times[each].toFixed(1)} ms`;
    }

    showLayers(number) {
      const most = Math.max(...networks[0].layers.map(({ shape }) => shape[0]));
      this.find(".layers").innerHTML = networks[0].layers
        .map(({ name, shape: [all] }, place) => {
          const left = networks[number].layers[place].shape[0];
          const bar = `<i style="width: ${(100 * left) / all}%"></i>`;
          return `<div><span>${short(name)}</span><u style="width: ${(45 * all) / most}%">${bar}</u>
            <b>${left} of ${all}</b></div>`;
        })
        .join("");
    }

    listLayers() {
      this.select.innerHTML = networks[0].layers
        .map(({ name }) => `<option value="${name}">${short(name)}</option>`)
        .join("");
    }

    // The original's maps, brighter where the filter responds more; what the cut took is struck out.
    showMaps(number, { data, channels, height }) {
      const canvas = this.find(".maps");
      const across = Math.max(4, Math.floor((this.root.clientWidth - 32) / CELL));
      const { kept } = networks[number].layers.find(({ name }) => name === this.select.value);
      const still = new Set(kept ?? Array(channels).keys()), context = canvas.getContext("2d");
      canvas.width = Math.min(across, channels) * CELL;
      canvas.height = Math.ceil(channels / across) * CELL;
      const one = document.createElement("canvas");
      one.width = one.height = height;
      const ink = one.getContext("2d");
      for (let c = 0; c < channels; c++) {
        const map = data.subarray(c * height * height, (c + 1) * height * height);
        const most = map.reduce((a, b) => Math.max(a, b), 1e-12);
        const image = ink.createImageData(height, height);
        map.forEach((value, i) => {
          image.data.fill((255 * Math.max(0, value)) / most, 4 * i, 4 * i + 3);
          image.data[4 * i + 3] = 255;
        });
        ink.putImageData(image, 0, 0);
        const x = (c % across) * CELL, y = Math.floor(c / across) * CELL, side = CELL - 4;
        context.fillRect(x + 2, y + 2, side, side);
        context.globalAlpha = still.has(c) ? 1 : 0.35;
        context.drawImage(one, x + 2, y + 2, side, side);
        context.globalAlpha = 1;
        if (still.has(c)) continue;
        context.strokeStyle = "#e8590c";
        context.lineWidth = 2.5;
        context.beginPath();
        context.moveTo(x + 4, y + 4);
        context.lineTo(x + CELL - 4, y + CELL - 4);
        context.moveTo(x + CELL - 4, y + 4);
        context.lineTo(x + 4, y + CELL - 4);
        context.stroke();
      }
      const gone = channels - still.size;
      const of = gone ? `${channels} maps of the original, ${gone} of them struck out` : `${channels} maps`;
      this.find(".legend").textContent = `${of}${gone ? ": the cut removed their filters" : ", none removed"}.`;
      canvas.setAttribute("aria-label", `Layer ${short(this.select.value)}: ${of}`);
    }

    // Those not seen yet are measured first.
    async copy() {
      const status = this.find(".times span");
      for (let number = 0; number < recorded.length; number++) {
        status.textContent = `Measuring network ${number + 1} of ${recorded.length} …`;
        await network(number);
        this.times[number] ??= (await order("time", { name: number })).milliseconds;
      }
      const rows = recorded.map(({ ratio, macs }, number) => ({
        ratio,
        macs,
        milliseconds: Math.round(this.times[number] * 100) / 100,
      }));
      await this.copyTimes(rows, status);
    }
  };
}
